"""The state of a pipeline run, from an API server."""

from collections.abc import Iterator

import pytest

from linnet.tasks.kubeflow import run_state, state_of
from support.kfp_api import KfpApi, running_kfp_api


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpApi]:
    with running_kfp_api() as server:
        monkeypatch.setenv("KFP_HOST", server.url)
        server.runs.append({"run_id": "run-1"})
        yield server


def test_the_state_of_a_run(api: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.token, api.run_states = "secret", ["RUNNING"]
    assert run_state("run-1") is None, "no token, no answer"
    monkeypatch.setenv("KFP_TOKEN", "secret")
    assert run_state("run-1") == "RUNNING"
    assert run_state("run-2") is None
    assert api.changes == []


def test_without_an_api_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_HOST", "http://127.0.0.1:1")
    assert run_state("run-1") is None
    monkeypatch.delenv("KFP_HOST")
    assert run_state("run-1") is None


def test_a_run_that_somebody_ended_is_no_failure() -> None:
    history = [{"state": "PENDING"}, {"state": "RUNNING"}, {"state": "CANCELING"}, {"state": "FAILED"}]
    assert state_of({"state": "FAILED", "state_history": history}) == "CANCELED"
    assert state_of({"state": "FAILED", "state_history": history[:2]}) == "FAILED"
    assert state_of({"state": "SUCCEEDED"}) == "SUCCEEDED"
    assert state_of({}) is None
