"""The first process of a pod: what it reads, whose fault an end was, and that SIGTERM reaches it."""

import os
import signal
import socket
import threading
import time

import pytest

from linnet.errors import LinnetError, Stopped
from linnet.launch import node
from linnet.launch.node import FINAL_STATUS, FinalError, Node, NodeError
from linnet.launch.torchrun import FinalLaunchError, KilledError, LaunchError
from linnet.recipe.load import RecipeError
from linnet.storage import StorageError
from linnet.tasks.nodes import SharedLocationError
from linnet.tasks.training import MissingGpusError
from linnet.training.loop import NonFiniteLossError

PET = {
    "PET_NODE_RANK": "1",
    "PET_NNODES": "2",
    "PET_NPROC_PER_NODE": "8",
    "PET_MASTER_ADDR": "linnet-train-0-node-0-0.linnet-train-0",
    "PET_MASTER_PORT": "29400",
    "LINNET_RENDEZVOUS": "uid",
    "LINNET_ATTEMPT": "3",
}


def test_a_node_is_what_trainer_and_jobset_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PET.items():
        monkeypatch.setenv(name, value)
    assert Node.from_environment() == Node(1, 2, 8, PET["PET_MASTER_ADDR"], 29400, "uid", 3)
    monkeypatch.setenv("LINNET_ATTEMPT", "")  # a label that this JobSet does not set
    with pytest.raises(NodeError, match=r"for the pods of a TrainJob.*elsewhere start `linnet train-shared`"):
        Node.from_environment()


@pytest.mark.parametrize("kind", [RecipeError, NonFiniteLossError, SharedLocationError, FinalLaunchError])
def test_what_every_attempt_would_meet_ends_with_one_status(kind: type[LinnetError]) -> None:
    with pytest.raises(FinalError, match=r"^why$") as caught, node.final_errors():
        raise kind("why")
    assert caught.value.exit_status == FINAL_STATUS


@pytest.mark.parametrize("kind", [StorageError, LaunchError, KilledError, MissingGpusError, NodeError])
def test_what_may_pass_ends_with_another(kind: type[LinnetError]) -> None:
    with pytest.raises(kind, match=r"^why$") as caught, node.final_errors():
        raise kind("why")
    assert caught.value.exit_status not in (0, FINAL_STATUS)


def at(port: int) -> Node:
    return Node(1, 2, 1, "127.0.0.1", port, "uid", 0)


def test_node_0_may_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        late = threading.Timer(0.3, server.listen)
        late.start()
        began = time.monotonic()
        rendezvous = at(server.getsockname()[1])._rendezvous()
        assert time.monotonic() - began > 0.25
        late.join()
    assert not rendezvous.is_host
    assert str(rendezvous.local_address) > "linnet-train-0-node-0-0"  # so node 0 comes first among the names
    monkeypatch.setattr(node, "JOIN_SECONDS", 0.0)
    with pytest.raises(NodeError, match=r"node 0 \(127\.0\.0\.1:1\) could not be reached for 0 minutes"):
        at(1)._rendezvous()


def test_a_node_that_waits_for_node_0_can_be_stopped() -> None:
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    timer.start()
    with pytest.raises(Stopped) as caught, node.stoppable():
        at(1)._rendezvous()
    timer.join()
    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
