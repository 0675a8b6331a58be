"""The run of a training in a real store, and with a server that is gone or silent."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from linnet.errors import Stopped
from linnet.tracking.client import RUN_KEY, connect, experiment_id, find_run
from linnet.tracking.run import RunTracker


def tracker(key: str, *, closing_seconds: float = 60.0) -> RunTracker:
    return RunTracker(
        key,
        run_name="test",
        params={"train.batch_size": 4},
        tags={"linnet.git_commit": "abc"},
        system_metrics=False,
        closing_seconds=closing_seconds,
    )


def test_a_run_holds_what_was_logged_and_is_resumed_by_its_key(workspace: Path) -> None:
    with tracker("key-1") as first:
        first.log_dataset("birds", "d" * 64, "data/birds", '{"num_rows": 3}')
        first.log_metrics({"loss": 2.0}, step=1)
        first.log_metrics({"loss": 1.0}, step=2)
        first.log_image("samples", np.zeros((8, 8, 3), dtype=np.uint8), step=2)
    with tracker("key-1") as second:
        second.log_metrics({"loss": 0.5}, step=3)
    with tracker("key-2") as other:
        other.log_metrics({"loss": 9.0}, step=1)

    client = connect()
    run_id = find_run(client, "key-1")
    assert run_id is not None
    assert run_id != find_run(client, "key-2")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"train.batch_size": "4"}
    assert run.data.tags[RUN_KEY] == "key-1"
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert run.inputs is not None
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    assert [f.path for f in client.list_artifacts(run_id)] == ["images"]


@pytest.mark.parametrize(("error", "status"), [(ValueError("x"), "FAILED"), (Stopped("stopped", 15), "KILLED")])
def test_the_run_says_how_it_ended(workspace: Path, error: Exception, status: str) -> None:
    with pytest.raises(type(error)), tracker("key"):
        raise error
    client = connect()
    run_id = find_run(client, "key")
    assert run_id is not None
    assert client.get_run(run_id).info.status == status


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers: worse than a server that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("gone", [True, False])
def test_a_server_that_is_gone_or_silent_delays_nothing(
    workspace: Path, silent_server: str, gone: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9" if gone else silent_server)
    started = time.monotonic()
    with tracker("key", closing_seconds=1.0) as run:
        for step in range(20_000):
            run.log_metrics({"loss": 1.0}, step)
        logging_seconds = time.monotonic() - started
    assert logging_seconds < 3  # a call must not wait; importing MLflow in the thread may cost a second or two
    assert time.monotonic() - started < logging_seconds + 3
    assert "did not take 20000 entries" in capsys.readouterr().err


def test_a_deleted_experiment_is_said_at_once_and_delays_nothing(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect()
    client.delete_experiment(experiment_id(client))
    started = time.monotonic()
    with tracker("key", closing_seconds=60.0) as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert time.monotonic() - started < 15
    said = capsys.readouterr().err
    assert "the experiment 'linnet' was deleted; bring it back" in said
    assert "does not answer" not in said
    assert "did not take 1 entries of this run; the results are complete" in said
