"""deploy/kubernetes: every field exists, nothing is left out, and the rights are those that the code uses."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from linnet.launch.cluster import Cluster
from linnet.launch.leftovers import remove_ended
from linnet.launch.manifest import NODE, TrainJobSettings
from linnet.launch.node import FINAL_STATUS
from linnet.launch.trainjob import TrainJobError
from support.kubernetes_api import KubernetesApi
from support.manifests import check_document, check_strictly
from support.trainjobs import PLAIN, S3, VOLUME, completes, manifest_of, run, settings_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
EXAMPLE = FOLDER / "secrets.example.yaml"
BASE = FOLDER / "base"
KUSTOMIZATION = BASE / "kustomization.yaml"
PATCH = FOLDER / "argo-retry.yaml"  # of a ConfigMap that is not linnet's
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != KUSTOMIZATION.name and path != PATCH)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


DOCUMENTS = [pytest.param(item, id=f"{path.stem}-{item['kind']}") for path in FILES for item in documents(path)]
EVERYTHING = [item for path in FILES for item in documents(path)]
WITH_PODS = [item for item in EVERYTHING if item["kind"] in ("Deployment", "StatefulSet")]
KUSTOMIZED = yaml.safe_load(KUSTOMIZATION.read_text())


def found(value: Any, key: str) -> Iterator[Any]:
    """All values under `key`, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, key)


def named(kind: str, name: str) -> dict[str, Any]:
    return next(item for item in EVERYTHING if item["kind"] == kind and item["metadata"]["name"] == name)


# --- structure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", DOCUMENTS)
def test_every_field_is_known_and_of_its_type(item: dict[str, Any]) -> None:
    check_document(item)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "replica"), 1, "unknown"),
        (("spec", "template", "spec", "containers"), {}, "be a list"),
        (("spec", "template", "spec", "containers", 0, "imagePullPolic"), "Always", "unknown"),
        (("spec", "replicas"), "1", "no int"),
        (("spec", "selector"), None, "be a mapping"),
    ],
)
def test_the_check_of_fields_can_fail(path: tuple[Any, ...], value: Any, message: str) -> None:
    item = documents(BASE / "mlflow.yaml")[1]
    parent = item
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = value
    with pytest.raises(AssertionError, match=message):
        check_document(item)


def test_what_is_required_is_required() -> None:
    item = documents(BASE / "mlflow.yaml")[1]
    del item["spec"]["selector"]
    with pytest.raises(AssertionError, match="selector"):
        check_document(item)


def test_every_file_says_what_it_is() -> None:
    for path in [*FILES, KUSTOMIZATION]:
        assert re.match(r"# \S.*[.:`]", path.read_text().splitlines()[0]), path


def test_names_are_distinct_and_the_namespace_is_kustomizes() -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in EVERYTHING]
    assert len(set(names)) == len(names)
    assert all("namespace" not in item["metadata"] for item in EVERYTHING)
    assert all(item["metadata"]["labels"]["app.kubernetes.io/name"].startswith("linnet") for item in EVERYTHING)


def test_selectors_find_their_pods() -> None:
    pods = [item["spec"]["template"]["metadata"]["labels"] for item in WITH_PODS]
    for item in EVERYTHING:
        spec = item.get("spec", {})
        match item["kind"]:
            case "Service":
                selector = spec["selector"]
            case "Deployment" | "StatefulSet":
                selector = spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                selector = spec["podSelector"]["matchLabels"]
            case _:
                continue
        assert sum(selector.items() <= labels.items() for labels in pods) == 1, item["metadata"]["name"]


# --- kustomize --------------------------------------------------------------------------------------------------------


def test_kustomize_takes_everything_but_the_example() -> None:
    """And no file of the base is forgotten; components/ are tested with the overlays."""
    assert {BASE / name for name in KUSTOMIZED["resources"]} == {path for path in FILES if path.parent == BASE}
    assert {path.relative_to(FOLDER).parts[0] for path in FILES} == {"base", "components", EXAMPLE.name}


def test_the_namespace_is_the_pipelines() -> None:
    transformer = yaml.safe_load(KUSTOMIZED["transformers"][0])
    cluster = tomllib.loads((ROOT / "pipelines" / "clusters" / "a100.toml").read_text())
    assert transformer["metadata"]["namespace"] == cluster["namespace"]
    assert named("ConfigMap", cluster["config_map"])


# --- pods and secrets -------------------------------------------------------------------------------------------------


def pod_specs() -> list[dict[str, Any]]:
    return [item["spec"]["template"]["spec"] for item in WITH_PODS]


def test_nobody_is_root_or_can_become_it() -> None:
    assert len(pod_specs()) == 2
    for pod in pod_specs():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["readinessProbe"]
            assert container["livenessProbe"]


def test_images_are_fixed() -> None:
    images = list(found(EVERYTHING, "image"))
    assert len(images) == 3
    for image in images:
        tag = image.rpartition("/")[2].partition(":")[2]
        assert tag not in ("", "latest"), image
    assert KUSTOMIZED["images"][0].get("newTag") != "latest"


def test_every_key_that_is_read_is_in_the_examples() -> None:
    keys = {item["metadata"]["name"]: item["stringData"].keys() for item in documents(EXAMPLE)}
    keys["configuration"] = named("ConfigMap", "linnet")["data"].keys()
    read = [(ref["name"], ref["key"]) for ref in found(EVERYTHING, "secretKeyRef")]
    read += [("configuration", ref["key"]) for ref in found(EVERYTHING, "configMapKeyRef")]
    for secret in tomllib.loads((ROOT / "pipelines" / "clusters" / "a100.toml").read_text())["secrets"]:
        read += [(secret["secret"], key) for key in secret["keys"].values()]
    assert len(read) > 10
    assert [(name, key) for name, key in read if key not in keys[name]] == []
    assert keys.keys() == {name for name, _ in read}  # and no example that nobody reads


def test_the_examples_are_no_secrets() -> None:
    values = [value for item in documents(EXAMPLE) for value in item["stringData"].values()]
    assert all("REPLACE" in value for value in values)


def test_the_server_is_where_clients_look_for_it() -> None:
    address = named("ConfigMap", "linnet")["data"]["MLFLOW_TRACKING_URI"]
    service = named("Service", "linnet-mlflow")
    assert address == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    arguments = named("Deployment", "linnet-mlflow")["spec"]["template"]["spec"]["containers"][0]["args"]
    hosts = next(argument.partition("=")[2].split(",") for argument in arguments if "allowed-hosts" in argument)
    assert address.removeprefix("http://") in hosts


# --- the training runtime --------------------------------------------------------------------------------------------

RUNTIME = named("TrainingRuntime", TrainJobSettings.model_fields["runtime"].default)
JOB_SET = RUNTIME["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", [PLAIN, S3, VOLUME], ids=["plain", "s3", "volume"])
def test_the_trainjob_has_only_fields_that_trainer_knows(values: dict[str, Any]) -> None:
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

    made = manifest_of(values)
    check_strictly(TrainerV1alpha1TrainJob, made, "TrainJob")
    reference = made["spec"]["runtimeRef"]
    assert (reference["kind"], reference["name"]) == (RUNTIME["kind"], RUNTIME["metadata"]["name"])
    made["spec"]["trainer"]["numNode"] = made["spec"]["trainer"].pop("numNodes")
    with pytest.raises(AssertionError, match=r"unknown .*\.spec\.trainer\.numNode"):
        check_strictly(TrainerV1alpha1TrainJob, made, "TrainJob")


def test_the_template_is_a_job_set_that_starts_all_nodes_again() -> None:
    from kubeflow_trainer_api.models import JobsetV1alpha2JobSet

    check_strictly(JobsetV1alpha2JobSet, {"spec": JOB_SET}, "JobSet")
    assert JOB_SET["failurePolicy"]["maxRestarts"] == 5
    assert JOB_SET["failurePolicy"]["restartStrategy"] == "BlockingRecreate"
    (job,) = JOB_SET["replicatedJobs"]
    assert (job["name"], job["replicas"]) == (NODE, 1)
    assert job["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert job["template"]["spec"]["backoffLimit"] == 0
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # Kubernetes takes no podFailurePolicy otherwise
    assert [container["name"] for container in pod["containers"]] == [NODE]
    assert "resources" not in pod["containers"][0]  # Trainer would add them to the TrainJob's


def test_an_error_for_people_ends_the_job_and_nothing_else_does() -> None:
    (job,) = JOB_SET["replicatedJobs"]
    (rule,) = job["template"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": NODE, "operator": "In", "values": [FINAL_STATUS]}
    (rule,) = JOB_SET["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])  # as JobSet's webhook wants it


# --- rights -----------------------------------------------------------------------------------------------------------

GIVEN = {
    f"{verb} {resource}"
    for rule in named("Role", "linnet-trainjobs")["rules"]
    for resource in rule["resources"]
    for verb in rule["verbs"]
}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
EVERY_RIGHT = {f"{verb} {resource}" for verb in VERBS for resource in ("trainjobs", "pods", "pods/log")}


def every_call(api: KubernetesApi) -> None:
    """A failed training, its repetition, a task that follows a running job, and the removal of old jobs."""
    api.steps = [lambda: api.start_pod().write("step 1"), lambda: api.end_job("Failed")]
    with pytest.raises(TrainJobError, match="failed: JobsCompleted"):
        run(outage_seconds=1)
    completes(api)
    run(outage_seconds=1)
    api.looks_until_gone = 0
    api.jobs.clear()
    api.create(manifest_of(S3))
    completes(api)
    run(outage_seconds=1)
    remove_ended(Cluster(settings_of(S3).namespace, outage_seconds=1), older_than_seconds=0)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with KubernetesApi() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path / "kubeconfig")))
        yield server


def test_the_role_suffices(api: KubernetesApi) -> None:
    api.forbidden = EVERY_RIGHT - GIVEN
    every_call(api)


@pytest.mark.parametrize("right", sorted(GIVEN))
def test_the_role_gives_nothing_that_is_not_used(api: KubernetesApi, right: str) -> None:
    api.forbidden = (EVERY_RIGHT - GIVEN) | {right}
    with pytest.raises((TrainJobError, AssertionError), match="rbac"):
        every_call(api)


def test_the_roles_are_of_the_right_groups_and_bound() -> None:
    groups = {
        resource: rule["apiGroups"]
        for rule in named("Role", "linnet-trainjobs")["rules"]
        for resource in rule["resources"]
    }
    assert groups == {"trainjobs": ["trainer.kubeflow.org"], "pods": [""], "pods/log": [""]}
    runtimes = named("ClusterRole", "linnet-view-cluster-runtimes")["rules"]
    assert [rule["resources"] for rule in runtimes] == [["clustertrainingruntimes"]]
    assert set(runtimes[0]["verbs"]) == {"get", "list", "watch"}
    for kind in ("Role", "ClusterRole"):
        binding = next(item for item in EVERYTHING if item["kind"] == f"{kind}Binding")
        assert named(kind, binding["roleRef"]["name"])
        assert [subject["name"] for subject in binding["subjects"]] == ["default-editor", "pipeline-runner"]
