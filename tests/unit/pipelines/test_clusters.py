"""Profiles of clusters: their mistakes, how one is chosen, and what becomes of it in the compiled DAG."""

import re
from pathlib import Path

import pytest

from linnet.recipe.load import load_recipe
from linnet.tasks.training import cpu_processes
from pipelines.clusters import PROFILE_VARIABLE, ClusterProfileError, load_cluster
from support.dag import compiled
from support.kfp_api import as_people_start_it
from support.tiny import ROOT


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("gpus = 8", "gpus = -1"), "gpus = -1 in [sizes.train]: it should be greater than or equal to 0"),
        (
            ("namespace =", "namespase ="),
            "key 'namespace' is missing at the top; add it (a cluster profile has no defaults)",
        ),
        (("[gpu]", "[gpu"), "is not valid TOML"),
        (
            ('pull_policy = "IfNotPresent"', 'pull_policy = "Always"'),
            "cluster.toml: pull_policy = 'Always' at the top: image_pull_policy Always cannot be set in a TrainJob",
        ),
        (('cpu = "88"', 'cpu = "1.5 cores"'), "cluster.toml: cpu = '1.5 cores' in [sizes.train]: a TrainJob cannot"),
        (
            ('memory = "640Gi"', 'memory = "much"'),
            "memory = 'much' in [sizes.train]: a TrainJob cannot have this; write",
        ),
        (("AWS_ACCESS_KEY_ID =", "PET_NNODES ="), "[[secrets]]: PET_NNODES is for Kubeflow Trainer to set"),
    ],
)
def test_mistakes_in_a_profile_are_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = (ROOT / "pipelines/clusters/a100.toml").read_text()
    path = tmp_path / "cluster.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(ClusterProfileError, match=re.escape(words)):
        load_cluster(str(path))
    path.unlink()
    with pytest.raises(ClusterProfileError, match="No such file"):
        load_cluster(str(path))


def test_every_size_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(re.sub(r"train = \{.*\n", "", (ROOT / "pipelines/clusters/cpu-small.toml").read_text()))
    with pytest.raises(ClusterProfileError, match=r"\[sizes\] train is missing; add a table such as \[sizes.train\]"):
        load_cluster(str(path))


def test_a_volume_in_place_of_s3_reaches_tasks_and_nodes(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    text = (ROOT / "pipelines/clusters/a100.toml").read_text()
    path.write_text(text + '\n[volume]\nclaim = "linnet-work"\nmount_path = "/mnt/linnet"\n')
    settings = load_cluster(str(path)).trainjob()
    assert (settings.volume_claim, settings.volume_mount_path) == ("linnet-work", "/mnt/linnet")
    assert settings.gpus_per_node == 8
    assert [secret.secret for secret in settings.secrets] == ["linnet-s3", "linnet-mlflow", "linnet-huggingface"]


def test_a_node_with_a_part_of_a_cpu_trains_in_one_process() -> None:
    """A request is no limit, and no reason for more processes."""
    recipe = load_recipe(ROOT / "recipes/birds-demo.toml")
    settings = load_cluster("cpu-small").trainjob()
    assert cpu_processes(recipe, settings.whole_cpus) == 1


def test_a_profile_is_chosen_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROFILE_VARIABLE, raising=False)
    assert load_cluster() == load_cluster("a100")
    monkeypatch.setenv(PROFILE_VARIABLE, "cpu-small")
    assert load_cluster() == load_cluster("cpu-small") != load_cluster("a100")
    copy = tmp_path / "ours.toml"
    copy.write_text((ROOT / "pipelines/clusters/cpu-small.toml").read_text())
    assert load_cluster(str(copy)) == load_cluster()
    with pytest.raises(ClusterProfileError, match=r"LINNET_CLUSTER as one of a100, cpu-small, gpu"):
        load_cluster("none")


def test_a_profile_that_is_not_there_is_one_sentence() -> None:
    """Also where it is found out while the pipeline is imported."""
    for module in ("pipelines.submit", "pipelines.package"):
        recipe = ("birds-demo",) if module == "pipelines.submit" else ()
        done = as_people_start_it(module, *recipe, KFP_HOST="http://127.0.0.1:1", LINNET_CLUSTER="none")
        assert done.returncode == 2
        assert done.stderr.startswith("linnet: ")
        assert "LINNET_CLUSTER as one of a100, cpu-small, gpu" in done.stderr


def test_another_profile_compiles_to_the_same_tasks_with_other_pods() -> None:
    small, large = compiled("cpu-small"), compiled("a100")
    assert "accelerator" not in str(small[0]["deploymentSpec"])
    assert "nodeSelector" not in str(small[1])
    assert small[0]["root"]["dag"]["tasks"].keys() == large[0]["root"]["dag"]["tasks"].keys()
    assert small[0]["components"].keys() == large[0]["components"].keys()


def test_without_trainer_the_pod_that_trains_is_as_large_as_a_node(tmp_path: Path) -> None:
    text = (ROOT / "pipelines/clusters/a100.toml").read_text()
    path = tmp_path / "ours.toml"
    path.write_text(text.replace("trainer = true", "trainer = false"))
    train = compiled(str(path))[0]["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert train["env"] == [{"name": "LINNET_POD_GPUS", "value": "8"}]
    assert train["resources"]["accelerator"]["resourceCount"] == "8"
    assert train["resources"]["resourceCpuRequest"] == "88"
