"""The page's server ends with the command that serves it."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS = 60.0


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while not answers(port):
        assert server.poll() is None, "it ended"
        assert time.monotonic() < deadline, "it does not answer"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_no_server_is_left_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "linnet", "ui", "--port", str(port), "--build", str(tmp_path)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        wait_until_it_answers(server, port)
        server.send_signal(number)  # to this process alone, as a supervisor does
        server.wait(SECONDS)
    assert not answers(port)
