"""Profiles without Trainer, and with a volume in place of S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cluster_check import engines, objects
from pipelines.cluster_check.kubernetes_api import KubernetesApi
from pipelines.clusters.profile import Cluster, Volume, load_cluster
from support.cluster_api import CORE, RUNTIME, TRAINER, ClusterApi, running_cluster

CLAIM = f"{CORE}/persistentvolumeclaims/linnet-work"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterApi]:
    with running_cluster() as running:
        monkeypatch.setenv("KUBECONFIG", str(running.write_kubeconfig(tmp_path / "kubeconfig")))
        yield running


def profile(**changes: object) -> Cluster:
    return load_cluster("cpu-small").model_copy(update=changes)


def test_without_trainer_none_is_needed(server: ClusterApi) -> None:
    del server.objects[TRAINER], server.objects[RUNTIME]
    (row,) = engines.trainer_rows(KubernetesApi(), profile(trainer=False), {})
    assert (row.verdict, "cannot save its last steps" in row.found) == ("ok", True)
    assert engines.rights_row(KubernetesApi(), profile(trainer=False), "").verdict == "ok"
    assert server.requests == []


@pytest.mark.parametrize(("phase", "verdict"), [("Bound", "ok"), ("Pending", "advice"), ("", "missing")])
def test_a_folder_has_to_be_on_a_volume_that_is_there(server: ClusterApi, phase: str, verdict: str) -> None:
    if phase:
        server.objects[CLAIM] = {"status": {"phase": phase}}
    with_volume = profile(volume=Volume(claim="linnet-work", mount_path="/mnt/linnet"))
    assert objects.volume_row(KubernetesApi(), with_volume, "/mnt/linnet/work").verdict == verdict


@pytest.mark.parametrize("work", [".work", "/mnt/linnet-other", "/mnt"])
def test_a_folder_elsewhere_is_lost_with_its_pod(server: ClusterApi, work: str) -> None:
    with_volume = profile(volume=Volume(claim="linnet-work", mount_path="/mnt/linnet"))
    row = objects.volume_row(KubernetesApi(), with_volume, work)
    assert (row.verdict, "lost with its pod" in row.found) == ("missing", True)
    assert objects.volume_row(KubernetesApi(), profile(), work).verdict == "missing"
