"""deploy/kubernetes/overlays and components, and the patch for Argo: what operators apply, built by kubectl."""

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cluster_check.nodes import quantity
from support.manifests import check_document
from support.tiny import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
Json = dict[str, Any]
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def build(folder: Path) -> list[Json]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def named(items: list[Json], kind: str, name: str) -> Json:
    (found,) = [item for item in items if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pod_of(items: list[Json], name: str) -> Json:
    (found,) = [item for item in items if item["metadata"]["name"] == name and "template" in item.get("spec", {})]
    pod: Json = found["spec"]["template"]["spec"]
    return pod


def images(items: list[Json]) -> Iterator[str]:
    for item in items:
        pod = item.get("spec", {}).get("template", {}).get("spec", {})
        yield from (each["image"] for each in [*pod.get("initContainers", ()), *pod.get("containers", ())])


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The folder, to change things in."""
    return Path(shutil.copytree(FOLDER, tmp_path / "kubernetes"))


def take_in_all_components(overlay: Path) -> None:
    """As the comment in its kustomization says."""
    path = overlay / "kustomization.yaml"
    text = path.read_text().replace("# components:", "components:").replace("#   - ../", "  - ../")
    path.write_text(text)


@needs_kubectl
def test_the_default_overlay_is_the_base() -> None:
    assert build(FOLDER / "overlays" / "default") == build(FOLDER / "base")


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_optional_is_applied_unasked(overlay: str) -> None:
    made = build(FOLDER / "overlays" / overlay)
    assert "PersistentVolumeClaim" not in {item["kind"] for item in made}
    assert "workflow-controller-configmap" not in {item["metadata"]["name"] for item in made}
    assert "initContainers" not in pod_of(made, "linnet-postgres")


@needs_kubectl
def test_a_small_cluster_has_its_cpu_for_the_tasks() -> None:
    """Of the 1.8 CPUs of a node with 2: both servers, and two nodes that train, or any other task."""
    made = build(FOLDER / "overlays" / "cpu-small")
    for name in ("linnet-mlflow", "linnet-postgres"):
        (container,) = pod_of(made, name)["containers"]
        assert container["resources"]["requests"]["cpu"] == "100m"
    profile = tomllib.loads((ROOT / "pipelines" / "clusters" / "cpu-small.toml").read_text())
    cpus = {name: float(quantity(size["cpu"])) for name, size in profile["sizes"].items()}
    servers = 2 * 0.1
    assert cpus["cpu-small"] + 2 * cpus["train"] + servers <= 1.8
    assert max(cpus.values()) + servers <= 1.8


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_edit_moves_everything_to_another_namespace_and_registry(copied: Path, overlay: str) -> None:
    base = copied / "base" / "kustomization.yaml"
    text = base.read_text().replace("namespace: linnet\n", "namespace: elsewhere\n")
    base.write_text(text.replace("registry.example.org", "registry.lab"))
    take_in_all_components(copied / "overlays" / overlay)
    made = build(copied / "overlays" / overlay)
    for item in made:
        check_document(item)
        cluster_wide = item["kind"].startswith("Cluster")
        assert item["metadata"].get("namespace") == (None if cluster_wide else "elsewhere")
        assert {subject["namespace"] for subject in item.get("subjects", ())} <= {"elsewhere"}
    assert "registry.lab/linnet:0.1.0" in images(made)


@needs_kubectl
def test_the_work_volume_is_a_component(copied: Path) -> None:
    take_in_all_components(copied / "overlays" / "default")
    made = build(copied / "overlays" / "default")
    claim = named(made, "PersistentVolumeClaim", "linnet-work")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@needs_kubectl
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_volume_of_roots_is_made_the_servers_before_it_starts(copied: Path, overlay: str) -> None:
    take_in_all_components(copied / "overlays" / overlay)
    pod = pod_of(build(copied / "overlays" / overlay), "linnet-postgres")
    (first,) = pod["initContainers"]
    (server,) = pod["containers"]
    user = pod["securityContext"]["runAsUser"]
    folder = next(each["value"] for each in server["env"] if each["name"] == "PGDATA")
    assert first["command"][-1] == f'mkdir -p "$PGDATA" && chown {user}:{user} "$PGDATA"'
    assert first["env"] == [{"name": "PGDATA", "value": folder}]
    assert first["volumeMounts"] == server["volumeMounts"]
    assert first["image"] == server["image"]
    assert first["securityContext"]["runAsUser"] == 0
    assert first["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert first["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert "runAsNonRoot" not in server["securityContext"]


def test_argos_patch_says_always_where_argo_reads_it() -> None:
    """A merge into the ConfigMap: only `workflowDefaults`, a text that is a Workflow.

    Kubeflow wraps a task in layers without a limit of their own, each of which would repeat what is in it.
    """
    patch = yaml.safe_load((FOLDER / "argo-retry.yaml").read_text())
    retry = "{limit: '2', retryPolicy: OnError}"
    stock = {
        "artifactRepository": "archiveLogs: true",
        "workflowDefaults": f"spec: {{templateDefaults: {{retryStrategy: {retry}}}}}",
    }
    assert yaml.safe_load(stock["workflowDefaults"])["spec"]["templateDefaults"]["retryStrategy"]["limit"] == "2"
    assert patch.keys() == {"data"}
    assert patch["data"].keys() == {"workflowDefaults"}
    merged = stock | patch["data"]
    assert merged["artifactRepository"] == stock["artifactRepository"]
    workflow = yaml.safe_load(merged["workflowDefaults"])
    assert workflow == {"spec": {"templateDefaults": {"retryStrategy": {"limit": "0", "retryPolicy": "Always"}}}}
