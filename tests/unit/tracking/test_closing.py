"""The table of ends, row by row, and which runs are closed by whom, in a real store (SQLite)."""

import contextlib
from typing import TYPE_CHECKING

import pytest

from linnet.errors import Stopped
from linnet.tracking.client import experiment_id, find_experiment
from linnet.tracking.closing import close_leftovers, close_pipeline_runs
from linnet.tracking.failures import TrackingError
from linnet.tracking.pipeline_runs import LIST_TAG, MAX_LISTED, NEWEST_TAG, STATE_TAG, begin_use, in_use
from linnet.tracking.run import RunTracker
from linnet.tracking.states import ENDS, end_asked, end_told
from support.pipeline_runs import OURS, seen

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.mark.parametrize(
    ("told", "asked", "status", "tag"),
    [
        ("SUCCEEDED", "SUCCEEDED", "FINISHED", "SUCCEEDED"),
        ("COMPLETE", None, "FINISHED", "SUCCEEDED"),  # a cluster's backend, in the words of its metadata store
        ("CACHED", None, "FINISHED", "SUCCEEDED"),
        ("SKIPPED", "SKIPPED", "FINISHED", "SUCCEEDED"),
        ("FAILED", "FAILED", "FAILED", "FAILED"),
        ("ERROR", "ERROR", "FAILED", "FAILED"),
        ("what nobody knows", None, "FAILED", "FAILED"),
        ("CANCELED", "CANCELED", "KILLED", "CANCELED"),
        ("CANCELLED", "CANCELLED", "KILLED", "CANCELED"),
        ("CANCELING", None, "KILLED", "CANCELED"),
        ("RUNNING", None, "KILLED", "CANCELED"),  # terminated: the exit handler runs before the run has its last state
    ],
)
def test_the_table(client: "MlflowClient", run_id: str, told: str, asked: str | None, status: str, tag: str) -> None:
    begin_use(client, run_id)
    assert close_pipeline_runs(told, "the disk is full") == [run_id]
    kept = None if status == "FINISHED" else "the disk is full"
    assert seen(client, run_id) == (status, tag, kept)
    if asked is not None:
        assert end_asked(asked) == end_told(told)


def test_only_states_that_last_are_closed_later() -> None:
    for state in ("RUNNING", "PENDING", "CANCELING", "PAUSED", "what nobody knows", None):
        assert end_asked(state) is None
    assert len({state for end in ENDS for state in end.told}) == sum(len(end.told) for end in ENDS)


def test_a_run_that_failed_to_register_is_not_finished(client: "MlflowClient", run_id: str) -> None:
    with in_use(client, run_id):
        pass  # trained and evaluated
    assert seen(client, run_id) == ("FINISHED", "RUNNING", None)
    with contextlib.suppress(ValueError), in_use(client, run_id):
        assert seen(client, run_id)[0] == "RUNNING"
        raise ValueError("no room")
    assert seen(client, run_id) == ("FAILED", "RUNNING", None)
    close_pipeline_runs("FAILED", "register: no room")
    assert seen(client, run_id) == ("FAILED", "FAILED", "register: no room")


def test_a_run_that_is_stopped_is_killed(client: "MlflowClient", run_id: str) -> None:
    with contextlib.suppress(Stopped), in_use(client, run_id):
        raise Stopped("stopped", 15)
    assert seen(client, run_id) == ("KILLED", "RUNNING", None)


def test_nothing_stays_of_a_failure_that_was_repaired(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry in the UI repeats what failed. Whether it repeats the exit handler too depends on Argo's version."""
    begin_use(client, run_id)
    close_pipeline_runs("FAILED", "register: no room")
    with in_use(client, run_id):
        assert seen(client, run_id) == ("RUNNING", "RUNNING", None)
    assert seen(client, run_id) == ("FINISHED", "RUNNING", None)
    close_pipeline_runs("SUCCEEDED", "")
    assert seen(client, run_id) == ("FINISHED", "SUCCEEDED", None)
    close_pipeline_runs("FAILED", "again")
    close_pipeline_runs("SUCCEEDED", "")
    assert seen(client, run_id) == ("FINISHED", "SUCCEEDED", None)
    close_pipeline_runs("FAILED", "at last")
    monkeypatch.delenv("LINNET_PIPELINE_RUN")
    begin_use(client, run_id)  # at a desk, which no pipeline's end is about
    assert seen(client, run_id) == ("RUNNING", None, None)
    assert close_leftovers(lambda _: "FAILED") == []


def test_an_early_stop_changes_nothing(client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_use(client, run_id)
    close_pipeline_runs("SUCCEEDED", "")
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "a later one")
    assert close_pipeline_runs("SUCCEEDED", "") == []
    assert seen(client, run_id) == ("FINISHED", "SUCCEEDED", None)


def test_closing_nothing_makes_no_experiment(client: "MlflowClient") -> None:
    assert close_pipeline_runs("SUCCEEDED", "") == []
    assert close_leftovers(lambda _: "FAILED") == []
    assert find_experiment(client) is None


def test_a_run_that_a_newer_pipeline_run_uses_is_left_to_it(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_use(client, run_id)
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-b")
    begin_use(client, run_id)
    assert client.get_run(run_id).data.tags[LIST_TAG] == "pipeline-a,pipeline-b"
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    assert close_pipeline_runs("FAILED", "no room") == []
    assert seen(client, run_id) == ("RUNNING", "RUNNING", None)
    assert f"MLflow run {run_id} is left to the pipeline run pipeline-b" in capsys.readouterr().err
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline")  # the beginning of another's id
    assert close_pipeline_runs("FAILED", "no room") == []
    assert "is left to" not in capsys.readouterr().err
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "pipeline-b")
    assert close_pipeline_runs("SUCCEEDED", "") == [run_id]
    assert seen(client, run_id) == ("FINISHED", "SUCCEEDED", None)


def test_the_list_holds_each_pipeline_run_once_and_not_for_ever(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set_tag(run_id, NEWEST_TAG, "of an earlier linnet")
    for name in ("b", "c", "b"):
        monkeypatch.setenv("LINNET_PIPELINE_RUN", name)
        begin_use(client, run_id)
    tags = client.get_run(run_id).data.tags
    assert (tags[LIST_TAG], tags[NEWEST_TAG]) == ("of an earlier linnet,c,b", "b")
    client.set_tag(run_id, LIST_TAG, ",".join(f"{number:036}" for number in range(MAX_LISTED)))
    begin_use(client, run_id)
    pipelines = client.get_run(run_id).data.tags[LIST_TAG].split(",")
    assert (len(pipelines), pipelines[0], pipelines[-1]) == (MAX_LISTED, f"{1:036}", "b")


def test_the_training_s_tracker_counts_as_use(client: "MlflowClient") -> None:
    with RunTracker("k", run_name="t", params={}, tags={}, system_metrics=False) as run:
        run.log_metrics({"loss": 1.0}, step=1)
    (closed,) = close_pipeline_runs("FAILED", "evaluate: no")
    tags = client.get_run(closed).data.tags
    assert (tags[NEWEST_TAG], tags[LIST_TAG], tags[STATE_TAG]) == (OURS, OURS, "FAILED")


def test_what_others_left_open_is_closed_by_asking(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RUNNING for ever, or FINISHED by the training of a pipeline run that ended later, in another way."""
    states = {"won": "SUCCEEDED", "lost": "FAILED", "ended": "CANCELED", "runs": "RUNNING", "gone": None}
    runs = dict[str, str]()
    for name in (*states, OURS):
        monkeypatch.setenv("LINNET_PIPELINE_RUN", name)
        runs[name] = client.create_run(experiment_id(client)).info.run_id
        begin_use(client, runs[name])
    client.set_terminated(runs["lost"], "FINISHED")  # its training was over
    desk = client.create_run(experiment_id(client)).info.run_id
    asked = list[str]()

    def ask(name: str) -> str | None:
        asked.append(name)
        return states[name]

    assert sorted(close_leftovers(ask)) == sorted(runs[name] for name in ("won", "lost", "ended"))
    assert sorted(asked) == sorted(states)
    ends = {name: seen(client, run)[:2] for name, run in runs.items()}
    assert ends == {
        "won": ("FINISHED", "SUCCEEDED"),
        "lost": ("FAILED", "FAILED"),
        "ended": ("KILLED", "CANCELED"),
        "runs": ("RUNNING", "RUNNING"),
        "gone": ("RUNNING", "RUNNING"),
        OURS: ("RUNNING", "RUNNING"),
    }
    assert seen(client, desk)[0] == "RUNNING"
    assert f"MLflow run {runs['ended']} of the pipeline run ended was left open: KILLED now" in capsys.readouterr().err
    assert close_leftovers(ask) == []


def test_a_run_that_is_taken_up_while_we_ask_is_left(
    client: "MlflowClient", run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_use(client, run_id)
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "c")

    def ask(_: str) -> str:
        with monkeypatch.context() as other:
            other.setenv("LINNET_PIPELINE_RUN", "b")
            begin_use(client, run_id)
        return "FAILED"

    assert close_leftovers(ask) == []
    assert seen(client, run_id) == ("RUNNING", "RUNNING", None)


def test_an_error_of_many_letters_fits(client: "MlflowClient", run_id: str) -> None:
    begin_use(client, run_id)
    close_pipeline_runs("FAILED", "long " * 5000)
    assert str(seen(client, run_id)[2]).startswith("long long")


def test_without_mlflow_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_PIPELINE_RUN", OURS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(TrackingError, match=r"does not answer .*check MLFLOW_TRACKING_URI"):
        close_pipeline_runs("FAILED", "")
