"""Against a real MLflow server over HTTP: tracking, the registry, serving, and a server that dies during training."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from support.commands import linnet
from support.mlflow_server import MLFLOW, free_port, running
from support.tiny import tiny_raw_data, write_tiny_recipe

pytestmark = pytest.mark.stack
RECIPE = "birds-tiny.toml"


@contextmanager
def tracking_server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [MLFLOW, "server", "--port", str(port), "--workers", "1", "--backend-store-uri", "sqlite:///server.db"]
    address = f"http://127.0.0.1:{port}"
    with running([*command, "--artifacts-destination", "artifacts"], f"{address}/health", folder) as process:
        yield address, process


def test_pipeline_registry_and_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    tiny_raw_data(tmp_path / "raw")
    write_tiny_recipe(tmp_path)
    with tracking_server(tmp_path) as (address, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        linnet(tmp_path, "ingest", RECIPE, "--source", "raw")
        for stage in ("preprocess", "train", "sample", "restore", "evaluate"):
            assert "does not answer" not in linnet(tmp_path, stage, RECIPE)
        assert "version 1 is champion" in linnet(tmp_path, "register", RECIPE)
        assert not (tmp_path / "mlflow.db").exists()

        port = free_port()
        serve = [MLFLOW, "models", "serve", "-m", "models:/linnet-birds-tiny@champion", "--env-manager", "local"]
        with running([*serve, "--port", str(port)], f"http://127.0.0.1:{port}/ping", tmp_path):
            request = {"dataframe_records": [{"num_samples": 2, "seed": 3, "steps": 4, "label": 1, "guidance": 1.5}]}
            response = requests.post(f"http://127.0.0.1:{port}/invocations", json=request, timeout=60)
            rows = response.json()["predictions"]
            assert [row["number"] for row in rows] == [0, 1]
            assert all(base64.b64decode(row["png"]).startswith(b"\x89PNG") for row in rows)
            bad = requests.post(
                f"http://127.0.0.1:{port}/invocations", json={"dataframe_records": [{"num_samples": 0}]}, timeout=60
            )
            assert bad.status_code == 400
            assert "num_samples = 0" in bad.text


def test_a_server_that_dies_during_training_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    tiny_raw_data(tmp_path / "raw")
    write_tiny_recipe(tmp_path)
    linnet(tmp_path, "ingest", RECIPE, "--source", "raw")
    linnet(tmp_path, "preprocess", RECIPE)
    long = ("--set", "train.duration_kexamples=1.6", "--checkpoint-seconds", "0")
    with tracking_server(tmp_path) as (address, server):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        command = [str(Path(sys.executable).parent / "linnet"), "train", RECIPE, *long]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as training:
            while not list(tmp_path.glob(".work/*/*/checkpoint-?.pt")):
                time.sleep(0.01)
            os.killpg(server.pid, signal.SIGKILL)
            output, _ = training.communicate(timeout=240)
        assert training.returncode == 0, output.decode()
        assert "400 steps" in output.decode()
        assert "did not take" in output.decode()
    assert (tmp_path / "build/birds-tiny/model/ema.safetensors").is_file()
