"""Where `train` trains: as a TrainJob where LINNET_TRAINJOB says how, or else in its own process or pod."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet import tasks
from linnet.artifacts import Dataset, Model
from linnet.launch.trainjob import JOB_PREFIX, TrainJobError
from linnet.recipe.texts import training_text
from linnet.stages import preprocess
from linnet.tasks.environment import uses_trainjob
from support.kubernetes_api import KubernetesApi
from support.tiny import tiny_raw_data, tiny_recipe
from support.trainjobs import PLAIN


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("LINNET_TRAINJOB", raising=False)
    monkeypatch.setenv("LINNET_WORK", str(tmp_path / "volume" / "work"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("LINNET_DEVICE", "cpu")


@pytest.mark.parametrize(
    ("is_pod", "has_trainer", "num_nodes", "expected"),
    [
        (True, True, 1, True),
        (True, True, 2, True),
        (False, True, 2, True),
        (False, True, 1, False),
        (True, False, 1, False),
        (False, False, 1, False),
    ],
)
def test_a_pod_of_a_cluster_with_trainer_makes_a_trainjob_for_any_number_of_nodes(
    monkeypatch: pytest.MonkeyPatch, is_pod: bool, has_trainer: bool, num_nodes: int, expected: bool
) -> None:
    if is_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    if has_trainer:
        monkeypatch.setenv("LINNET_TRAINJOB", json.dumps(PLAIN))
    assert uses_trainjob(num_nodes) is expected


def test_several_nodes_without_trainer_are_refused() -> None:
    with pytest.raises(TrainJobError, match=r"num_nodes = 2 needs Kubeflow Trainer.*train on one node, or submit with"):
        uses_trainjob(2)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    preprocess.run(tiny_recipe().data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)
    return tmp_path / "dataset"


def train(dataset: Path, out: Path) -> dict[str, Any]:
    return tasks.train(
        training_text(tiny_recipe()),
        dataset=str(dataset),
        dataset_hash=Dataset.content_hash(dataset),
        dataset_facts={},
        out=str(out),
        num_nodes=1,
    )


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """One with Trainer, whose nodes the test plays."""
    volume = {"volume_claim": "linnet-work", "volume_mount_path": str(tmp_path / "volume")}
    monkeypatch.setenv("LINNET_TRAINJOB", json.dumps(PLAIN | volume | {"gpus_per_node": 0, "cpu": "1500m"}))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "run-1")
    with KubernetesApi() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.write_kubeconfig(tmp_path / "kubeconfig")))
        yield api


def test_one_node_trains_in_a_trainjob_and_leaves_nothing(
    cluster: KubernetesApi,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LINNET_PATIENCE", "0")
    made: dict[str, Any] = {}

    def play_node() -> None:
        while not cluster.jobs:
            time.sleep(0.01)
        made.update(next(iter(cluster.jobs.values())))
        location = made["spec"]["trainer"]["args"][1]
        state = "Failed"
        try:
            subprocess.run([sys.executable, "-m", "linnet", "train-shared", location], check=True, timeout=100)
            state = "Complete"
        finally:  # a task whose job never ends would follow it for ever
            cluster.end_job(state)

    monkeypatch.setattr("linnet.launch.trainjob.POLL_SECONDS", 0.05)
    node = threading.Thread(target=play_node)
    node.start()
    facts = train(dataset, tmp_path / "model")
    node.join()
    assert facts["content_hash"] == Model.content_hash(tmp_path / "model")
    key = made["metadata"]["name"].removeprefix(JOB_PREFIX)
    location = tmp_path / "volume" / "work" / f"nodes-{key}"
    assert made["spec"]["trainer"]["args"] == [
        *("train-node", str(location), "--gpus", "0", "--stop-seconds", "120"),
    ]
    assert (made["spec"]["trainer"]["numNodes"], made["spec"]["trainer"]["numProcPerNode"]) == (1, 1)
    environment = {entry["name"]: entry.get("value") for entry in made["spec"]["trainer"]["env"]}
    assert environment["LINNET_PATIENCE"] == "0"
    said = capsys.readouterr().err
    assert said.count("MLflow was not told that this pipeline run uses the training") == 2  # nothing answers here
    assert not location.exists()
    assert len(cluster.deletions) == 1


def test_a_pod_without_trainer_trains_itself_and_has_its_gpus(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINNET_POD_GPUS", "8")
    with pytest.raises(SystemExit):
        train(dataset, tmp_path / "model")
    assert re.search(r"this pod requested 8 GPUs and torch sees \d", capsys.readouterr().err)
    monkeypatch.setenv("LINNET_POD_GPUS", "0")
    assert train(dataset, tmp_path / "model")["content_hash"] == Model.content_hash(tmp_path / "model")
