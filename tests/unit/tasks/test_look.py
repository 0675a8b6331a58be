"""Whether a cluster's processes can share out a recipe's batch, asked before anything is spent."""

import json
from pathlib import Path

import pytest

from linnet.files import ArtifactError
from linnet.tasks.look import check_training
from support.tiny import tiny_recipe


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, as a pod that sees a volume."""
    trains_on(8, tmp_path, monkeypatch)


def trains_on(gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "namespace": "linnet",
        "image": "linnet:dev",
        "gpus_per_node": gpus,
        "cpu": "8",
        "memory": "1Gi",
        "shared_memory": "64Mi",
        "volume_claim": "linnet-work",
        "volume_mount_path": str(tmp_path),
        "termination_grace_seconds": 60,
        "active_deadline_seconds": 600,
    }
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("LINNET_TRAINJOB", json.dumps(settings))
    monkeypatch.setenv("LINNET_WORK", str(tmp_path / "work"))


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(
    ("batch_size", "nodes", "gpus", "remedy"),
    [
        (6, 1, 8, r"train\.batch_size=8, or take gpus = 6 in \[sizes\.train\] of the cluster's profile$"),
        (12, 2, 8, r"train\.batch_size=16, or take gpus = 6 in"),
        (20, 1, 8, r"train\.batch_size=24, or take gpus = 5 in"),
        (3, 2, 8, r"train\.batch_size=16, or take fewer nodes$"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_names_numbers_that_can(
    batch_size: int, nodes: int, gpus: int, remedy: str
) -> None:
    with pytest.raises(ArtifactError, match=rf"batch_size = {batch_size} .* to {nodes * gpus} processes .*{remedy}"):
        check_training(tiny_recipe(f"train.batch_size={batch_size}"), nodes)


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(("batch_size", "nodes", "gpus"), [(8, 1, 8), (6, 1, 6), (16, 2, 8), (5, 1, 0)])
def test_a_batch_that_can_be_shared_out_is_accepted(
    batch_size: int, nodes: int, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trains_on(gpus, tmp_path, monkeypatch)
    check_training(tiny_recipe(f"train.batch_size={batch_size}"), nodes)
