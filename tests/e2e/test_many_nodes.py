"""Two nodes on this machine, started as the pods of a TrainJob are, with a folder that both share."""

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
from linnet.tasks import nodes
from support.commands import linnet
from support.tiny import tiny_raw_data, tiny_recipe, write_tiny_recipe

pytestmark = pytest.mark.e2e
TORCHRUN = str(Path(sys.executable).parent / "torchrun")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node_environment(folder: Path, *, rank: int, count: int, port: int, attempt: int = 0) -> dict[str, str]:
    """What Kubeflow Trainer, JobSet and the manifest give the pod of a node."""
    scratch = folder / f"node{rank}-{attempt}"  # nodes share no disk
    scratch.mkdir(parents=True)
    return {
        "PET_NNODES": str(count),
        "PET_NPROC_PER_NODE": "1",
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
        "LINNET_RENDEZVOUS": f"uid-of-attempt-{attempt}",
        "LINNET_ATTEMPT": str(attempt),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(scratch),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    }


def command_of(location: str) -> list[str]:
    """As the manifest has it, with this environment's Python."""
    from linnet.tasks.nodes import node_arguments

    return [sys.executable, "-m", "linnet", *node_arguments(location, gpus=0, stop_seconds=60)]


def start_node(location: str, folder: Path, **where: int) -> subprocess.Popen[str]:
    own = node_environment(folder, **where)
    return subprocess.Popen(command_of(location), env=os.environ | own, stderr=subprocess.PIPE, text=True)


def start_nodes(location: str, folder: Path, *, count: int) -> list[str]:
    """Run every node with the variables that the pods of a TrainJob have; raises if one fails. What they said."""
    port = free_port()
    nodes = [start_node(location, folder, rank=rank, count=count, port=port) for rank in reversed(range(count))]
    ends = [(node.communicate(timeout=120)[1], node.returncode) for node in nodes]
    assert [status for _, status in ends] == [0] * count, "\n".join(stderr for stderr, _ in ends)
    return [stderr for stderr, _ in reversed(ends)]


def test_two_nodes_train_what_one_process_trains(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    raw = tiny_raw_data(tmp_path / "raw")
    preprocess.run(recipe.data, raw=raw, out=tmp_path / "build" / "birds-tiny" / "dataset", workers=1)
    write_tiny_recipe(tmp_path)
    linnet(tmp_path, "train", "birds-tiny.toml", "--no-track")
    alone = tmp_path / "build" / "birds-tiny" / "model"

    location = tmp_path / "shared" / "nodes-0"
    nodes.publish(recipe, tmp_path / "build" / "birds-tiny" / "dataset", str(location))
    said = start_nodes(str(location), tmp_path, count=2)
    assert "steps, last loss" in said[0]  # Trainer's node 0 is rank 0, though the other one came first
    assert "steps, last loss" not in said[1]
    together = location / "model"
    one, two = (load_file(folder / "ema.safetensors") for folder in (alone, together))
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-4
    names = ("input_hash", "recipe_hash", "code_hash", "inputs")
    first, second = (read_provenance(folder, made_by="train") for folder in (alone, together))
    assert [first[name] for name in names] == [second[name] for name in names]

    nodes.fetch(str(location), tmp_path / "fetched", job="linnet-train-0")
    assert folder_hash(tmp_path / "fetched") == folder_hash(together)


def test_a_location_without_a_recipe_is_one_sentence(tmp_path: Path) -> None:
    stderr = linnet(tmp_path, "train-shared", str(tmp_path / "nowhere"), status=1)
    assert "nowhere/recipe.json: No such file or directory" in stderr
    assert "Traceback" not in stderr
