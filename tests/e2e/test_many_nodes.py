"""Two nodes on this machine, started as the pods of a TrainJob are, with a folder that both share."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from linnet.artifacts import read_provenance
from linnet.hashes import folder_hash
from linnet.launch.node import FINAL_STATUS
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
    return [sys.executable, "-m", "linnet", *nodes.node_arguments(location, gpus=0, stop_seconds=60)]


def start_node(location: str, folder: Path, **where: int) -> subprocess.Popen[str]:
    own = node_environment(folder, **where)
    return subprocess.Popen(command_of(location), env=os.environ | own, stderr=subprocess.PIPE, text=True)


def start_nodes(location: str, folder: Path, *, count: int) -> list[str]:
    """Run every node with the variables that the pods of a TrainJob have; raises if one fails. What they said."""
    port = free_port()
    pods = [start_node(location, folder, rank=rank, count=count, port=port) for rank in reversed(range(count))]
    ends = [(pod.communicate(timeout=120)[1], pod.returncode) for pod in pods]
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


def test_a_node_that_is_asked_to_stop_ends_the_attempt_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Its bits are those of an undisturbed training, and a node of the old attempt that comes late joins nothing."""
    recipe = tiny_recipe("train.duration_kexamples=0.8")
    dataset = tmp_path / "dataset"
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=dataset, workers=1)
    undisturbed, location = tmp_path / "undisturbed" / "nodes-0", tmp_path / "shared" / "nodes-0"
    for place in (undisturbed, location):
        nodes.publish(recipe, dataset, str(place))
    start_nodes(str(undisturbed), tmp_path / "first", count=2)

    port = free_port()
    pods = [start_node(str(location), tmp_path, rank=rank, count=2, port=port) for rank in range(2)]
    wait_for(lambda: all(takes_steps(pod) for pod in pods))
    pods[1].send_signal(signal.SIGTERM)
    said = [pod.communicate(timeout=120)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [1, 128 + signal.SIGTERM], said
    assert "stopped after step" in said[0], said[0]
    assert list((location / "work").glob("train-*/checkpoint-*")), said

    late = start_node(str(location), tmp_path / "late", rank=1, count=2, port=port)
    time.sleep(3)
    pods = [start_node(str(location), tmp_path, rank=rank, count=2, port=port, attempt=1) for rank in range(2)]
    said = [pod.communicate(timeout=120)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], said
    assert "train: resuming after step" in said[0]
    assert folder_hash(location / "model") == folder_hash(undisturbed / "model")
    late.send_signal(signal.SIGTERM)
    late.communicate(timeout=120)
    assert late.returncode != 0


def takes_steps(pod: subprocess.Popen[str]) -> bool:
    """Whether a training process of the node has come as far as to catch SIGTERM itself."""
    children = Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text().split()
    caught = [re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{child}/status").read_text()) for child in children]
    return any(int(mask[1], 16) & 1 << (signal.SIGTERM - 1) for mask in caught if mask)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_exit_status_says_whether_another_attempt_makes_sense(tmp_path: Path) -> None:
    """64 for an error that every attempt would meet, which the runtime's failure policy knows; not for a lost file."""
    location = tmp_path / "nodes-0"
    for text, status, words in (
        (None, 1, "recipe.json: No such file or directory"),
        ("{}", FINAL_STATUS, "is no recipe of this version of linnet"),
    ):
        if text is not None:
            location.mkdir()
            (location / "recipe.json").write_text(text)
        node = start_node(str(location), tmp_path / f"of-{status}", rank=0, count=1, port=1)
        _, said = node.communicate(timeout=120)
        assert node.returncode == status, said
        assert words in said
        assert "Traceback" not in said


def test_two_nodes_end_with_the_status_of_the_one_whose_fault_it_is(tmp_path: Path) -> None:
    """Through torch's agents, whose own status is always 1."""
    recipe = tiny_recipe("train.learning_rate=1e30", "train.precision=fp32")
    dataset, location = tmp_path / "dataset", tmp_path / "nodes-0"
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=dataset, workers=1)
    nodes.publish(recipe, dataset, str(location))
    port = free_port()
    pods = [start_node(str(location), tmp_path, rank=rank, count=2, port=port) for rank in range(2)]
    said = [pod.communicate(timeout=120)[1] for pod in pods]
    assert FINAL_STATUS in [pod.returncode for pod in pods], said
    assert "the run stops before this update" in said[0]
    assert not list((location).glob("model"))


def test_outside_a_trainjob_the_command_says_so(tmp_path: Path) -> None:
    stderr = linnet(tmp_path, "train-node", str(tmp_path), status=1)
    assert "'PET_NODE_RANK': `linnet train-node` is for the pods of a TrainJob" in stderr


def test_torchrun_starts_the_same_without_trainer(tmp_path: Path) -> None:
    """As docs/operations.md says it for Slurm."""
    recipe = tiny_recipe()
    dataset, location = tmp_path / "dataset", tmp_path / "nodes-0"
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=dataset, workers=1)
    nodes.publish(recipe, dataset, str(location))
    endpoint = f"127.0.0.1:{free_port()}"
    flags = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", "--rdzv-id=1"]
    command = [TORCHRUN, *flags, "-m", "linnet", "train-shared", str(location)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    ranks = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert (location / "model" / "ema.safetensors").is_file()
