"""What a local run leaves out: of the DAG what only a cluster can use, of the output what nobody reads."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.console import Quiet
from pipelines.local import _environment, _which_failed, for_one_machine
from pipelines.resources import ClusterError, load_cluster

ROOT = Path(__file__).parents[3]
LOG = """Executing task 'check'
    [KFP Executor 2026-11-21 02:18:51,436 INFO]: Looking for component `check`
    [KFP Executor 2026-11-21 02:18:51,436 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {
                "recipe": "{"
            }
        }
    }
    birds-tiny: good
    {this is a task's own line}

    [KFP Executor 2026-11-21 02:18:53,076 INFO]: Wrote executor output file to /x/executor_output.json.
Task 'check' finished"""


def test_the_executors_bookkeeping_is_left_out_and_nothing_else() -> None:
    out = io.StringIO()
    quiet = Quiet(out)
    for start in range(0, len(LOG), 7):  # lines arrive in segments
        quiet.write(LOG[start : start + 7])
    quiet.write("\n")
    assert out.getvalue().splitlines() == [
        "Executing task 'check'",
        "    birds-tiny: good",
        "    {this is a task's own line}",
        "Task 'check' finished",
    ]


def test_the_task_that_failed_is_named() -> None:
    said = (
        "Pipeline \x1b[95m'linnet-training'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m. Inner task failed: "
        "\x1b[96m'check'\x1b[0m inside \x1b[96m'exit-handler-1'\x1b[0m."
    )
    assert _which_failed(said) == "task 'check' failed"
    assert _which_failed("something else.") == "something else"


def test_containers_get_what_sources_and_features_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and hashes as they are; files by their absolute paths, under which they are mounted."""
    monkeypatch.chdir(tmp_path)
    for name in ("LINNET_INCEPTION_WEIGHTS", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    given = {"HF_TOKEN": "hf_of_the_test", "LINNET_EMBEDDING_WEIGHTS": "vggish.pth", "LINNET_EMBEDDING_SHA256": "abc"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = _environment()
    assert {name: found[name] for name in given} == given | {"LINNET_EMBEDDING_WEIGHTS": str(tmp_path / "vggish.pth")}
    assert not {"LINNET_INCEPTION_WEIGHTS", "AWS_ACCESS_KEY_ID"} & found.keys()


def test_only_retries_and_parallel_loops_are_taken_out() -> None:
    whole: dict[str, Any] = next(iter(yaml.safe_load_all((ROOT / "pipelines/compiled/training.yaml").read_text())))
    text = yaml.safe_dump(whole)
    assert "retryPolicy" in text
    local = for_one_machine(yaml.safe_load(text))
    assert "retryPolicy" not in yaml.safe_dump(local)
    (loop,) = [
        task
        for component in local["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 1}
    assert local["deploymentSpec"] == whole["deploymentSpec"]
    assert set(local["components"]) == set(whole["components"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("gpus = 8", "gpus = -1"), "sizes.train.gpus: Input should be greater than or equal to 0"),
        (("namespace =", "namespase ="), "namespace: Field required"),
        (("[gpu]", "[gpu"), "cannot be read"),
    ],
)
def test_mistakes_in_cluster_toml_are_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    text = (ROOT / "pipelines/cluster.toml").read_text()
    path = tmp_path / "cluster.toml"
    path.write_text(text.replace(*change))
    with pytest.raises(ClusterError, match=words.replace(".", r"\.")):
        load_cluster(path)
    path.unlink()
    with pytest.raises(ClusterError, match="No such file"):
        load_cluster(path)


def test_a_volume_in_place_of_s3_reaches_tasks_and_nodes(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    text = (ROOT / "pipelines/cluster.toml").read_text()
    path.write_text(text + '\n[volume]\nclaim = "linnet-work"\nmount_path = "/mnt/linnet"\n')
    settings = load_cluster(path).trainjob()
    assert (settings.volume_claim, settings.volume_mount_path) == ("linnet-work", "/mnt/linnet")
    assert settings.gpus_per_node == 8
    assert [secret.secret for secret in settings.secrets] == ["linnet-s3", "linnet-mlflow", "linnet-huggingface"]
