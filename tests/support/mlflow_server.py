"""Servers as processes of their own, and an MLflow server that can go and come back."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

MLFLOW = str(Path(sys.executable).parent / "mlflow")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(command: list[str], health: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            try:
                if requests.get(health, timeout=1).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        else:
            pytest.fail((folder / "server.log").read_text()[-3000:])
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class MlflowServer:
    """On SQLite, or the database at `store`, always at one address."""

    def __init__(self, folder: Path, store: str = "sqlite:///server.db") -> None:
        self._folder, port = folder, free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._command = [MLFLOW, "server", "--port", str(port), "--workers", "1", "--backend-store-uri", store]
        self._command += ["--artifacts-destination", "artifacts"]
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(running(self._command, f"{self.address}/health", self._folder))

    def stop(self) -> None:
        """By SIGKILL, as a node that is lost."""
        self._running.close()

    @contextmanager
    def away(self, seconds: float, *, when: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Stopped as soon as `when` says so, and back after `seconds`, while the block goes on."""

        def go_and_come_back() -> None:
            while not when():
                time.sleep(0.01)
            self.stop()
            gone.set()
            time.sleep(seconds)
            self.start()

        gone = threading.Event()
        thread = threading.Thread(target=go_and_come_back)
        starts_gone = when()
        thread.start()
        if starts_gone:
            gone.wait()
        yield
        thread.join()
