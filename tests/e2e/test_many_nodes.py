"""Two nodes on this machine: torchrun as the pods of a TrainJob start it, with a folder that both share."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from linnet.artifacts import read_provenance
from linnet.hashes import folder_hash
from linnet.stages import preprocess
from linnet.tasks import training
from support.commands import linnet
from support.tiny import tiny_raw_data, tiny_recipe, write_tiny_recipe

pytestmark = pytest.mark.e2e
TORCHRUN = str(Path(sys.executable).parent / "torchrun")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_nodes(location: str, folder: Path, *, count: int, **environment: str) -> None:
    """Run every node with the variables that Kubeflow Trainer gives its pods; raises if one fails."""
    port = free_port()
    nodes = []
    for rank in range(count):
        own = {
            "PET_NNODES": str(count),
            "PET_NPROC_PER_NODE": "1",
            "PET_NODE_RANK": str(rank),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder / f"node{rank}"),  # nodes share no disk
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        }
        Path(own["TMPDIR"]).mkdir()
        command = [TORCHRUN, "-m", "linnet", "train-shared", location]
        nodes.append(subprocess.Popen(command, env=os.environ | own | environment, stderr=subprocess.PIPE, text=True))
    ends = [(node.communicate(timeout=120)[1], node.returncode) for node in nodes]
    assert [status for _, status in ends] == [0] * count, "\n".join(stderr for stderr, _ in ends)


def test_two_nodes_train_what_one_process_trains(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    raw = tiny_raw_data(tmp_path / "raw")
    preprocess.run(recipe.data, raw=raw, out=tmp_path / "build" / "birds-tiny" / "dataset", workers=1)
    write_tiny_recipe(tmp_path)
    linnet(tmp_path, "train", "birds-tiny.toml", "--no-track")
    alone = tmp_path / "build" / "birds-tiny" / "model"

    location = tmp_path / "shared" / "nodes-0"
    training.publish(recipe, tmp_path / "build" / "birds-tiny" / "dataset", str(location))
    start_nodes(str(location), tmp_path, count=2)
    together = location / "model"
    one, two = (load_file(folder / "ema.safetensors") for folder in (alone, together))
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-4
    names = ("input_hash", "recipe_hash", "code_hash", "inputs")
    first, second = (read_provenance(folder, made_by="train") for folder in (alone, together))
    assert [first[name] for name in names] == [second[name] for name in names]

    training.fetch(str(location), tmp_path / "fetched", job="linnet-train-0")
    assert folder_hash(tmp_path / "fetched") == folder_hash(together)


def test_a_location_without_a_recipe_is_one_sentence(tmp_path: Path) -> None:
    stderr = linnet(tmp_path, "train-shared", str(tmp_path / "nowhere"), status=1)
    assert "nowhere/recipe.json: No such file or directory" in stderr
    assert "Traceback" not in stderr
