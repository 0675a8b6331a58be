"""What tasks leave for the one that closes the run, and the page it makes of that."""

import time
from pathlib import Path

import pytest

from linnet import tasks
from linnet.files import ArtifactError
from linnet.tasks import notes
from linnet.tasks.boundary import task
from linnet.tasks.notes import Notes
from linnet.tasks.outcome import outcome_page
from linnet.tracking.states import end_told
from support.kfp_api import running_kfp_api


@pytest.fixture(autouse=True)
def pipeline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "run-1")


@task
def evaluate(*, good: bool) -> int:
    if not good:
        raise ArtifactError("the samples are damaged; generate them again")
    return 1


def test_a_failing_task_leaves_its_sentence_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        evaluate(good=False)
    notes.note_result("gate", "# champion")
    sentence = "the samples are damaged; generate them again"
    assert notes.read_notes() == Notes({"evaluate": sentence}, {"gate": "# champion"})
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "run-2")
    assert notes.read_notes() == Notes({}, {})
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "run-1")
    assert evaluate(good=True) == 1
    assert notes.read_notes() == Notes({}, {"gate": "# champion"})
    notes.forget_all()
    assert notes.read_notes() == Notes({}, {})


def test_notes_that_cannot_be_read_are_not_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """And storage that is away is not waited for as long as where results are at stake."""
    for name, value in {
        "LINNET_WORK": "s3://bucket/work",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "LINNET_PATIENCE": "600",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(notes, "LONGEST_WAIT_SECONDS", 0.5)
    began = time.monotonic()
    notes.note_failure("evaluate", "why")
    assert notes.read_notes() is None
    assert time.monotonic() - began < 60


@task
def ingest(source: str) -> None:
    raise ArtifactError(f"{source} has changed")


def test_no_password_gets_into_logs_notes_and_pages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ingest("dvc:https://user:secret@host/repo@main")
    found = notes.read_notes()
    assert found is not None
    assert "host/repo@main has changed" in found.failures["ingest"]
    assert "secret" not in found.failures["ingest"] + capsys.readouterr().err


def test_the_page_is_there_although_mlflow_is_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    notes.note_failure("look", "MLflow at http://127.0.0.1:1: does not answer")
    with pytest.raises(SystemExit):
        tasks.close("FAILED", "", page=str(tmp_path / "outcome"))
    assert "- **look**: MLflow at http://127.0.0.1:1: does not answer" in (tmp_path / "outcome").read_text()


@pytest.mark.parametrize(
    ("states", "expected"),
    [(["RUNNING"], "FAILED"), (["RUNNING", "CANCELING"], "CANCELED"), (None, "CANCELED")],
)
def test_a_pod_that_was_lost_is_no_person_who_ended_the_run(
    states: list[str] | None, expected: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubeflow Pipelines tells the exit handler RUNNING in both cases; its history tells them apart."""
    with running_kfp_api() as api:
        api.run_states = ["RUNNING"]
        if states is not None:
            history = [{"state": state} for state in states]
            api.runs.append({"run_id": "run-1", "state_history": history})
        monkeypatch.setenv("KFP_HOST", api.url)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tasks.close("RUNNING", "", page=str(workspace / "outcome"))
    assert (workspace / "outcome").read_text().startswith(f"# The run ended as {expected}")


def test_outside_of_a_run_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINNET_PIPELINE_RUN")
    with pytest.raises(SystemExit):
        evaluate(good=False)
    assert not (tmp_path / "work").exists()


def test_a_note_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LINNET_WORK", str(tmp_path / "file"))
    with pytest.raises(SystemExit) as done:
        evaluate(good=False)
    assert done.value.code == 1
    assert evaluate(good=True) == 1


def test_in_a_pod_the_log_view_shows_all_of_it_in_red(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kubeflow's page cuts long lines and reddens those with the word error."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    @task
    def train() -> None:
        raise ArtifactError("long " * 60 + "end")

    with pytest.raises(SystemExit):
        train()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") and len(line) < 110 for line in lines)
    assert lines[-1].endswith("end")


@pytest.mark.parametrize(
    ("state", "failures", "results", "title", "words"),
    [
        (
            "SUCCEEDED",
            {},
            {"gate": "# birds version 3 is champion\n\nbetter"},
            "# birds version 3 is champion",
            "better",
        ),
        ("SUCCEEDED", {"train": "an earlier try"}, {"gate": "# birds 3"}, "# birds 3", "data_page"),
        ("FAILED", {"train": "no GPU"}, {}, "# The run ended as FAILED in train", "- **train**: no GPU"),
        ("FAILED", {"train": "no GPU"}, {"gate": "# x"}, "# The run ended as FAILED in train", "**Retry**"),
        ("FAILED", {}, {"gate": "# birds version 3 is champion"}, "# The run ended as FAILED", "no task said why"),
        ("RUNNING", {}, {}, "# The run ended as CANCELED", "no task said why"),
        ("SUCCEEDED", {}, {"look": "# Nothing changed\n\nthe same"}, "# Nothing changed", "the same"),
        ("SUCCEEDED", {}, {}, "# The run succeeded", ""),
    ],
)
def test_the_outcome(state: str, failures: dict[str, str], results: dict[str, str], title: str, words: str) -> None:
    page = outcome_page(end_told(state), "", Notes(failures, results), ["0123"])
    assert page.splitlines()[0] == title
    assert words in page
    assert "MLflow run `0123` at " in page
    assert ("data_page" in page) == (state == "SUCCEEDED" and "gate" in results)


def test_the_outcome_says_that_it_could_not_read_and_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_MLFLOW_UI", "https://mlflow.example/")
    page = outcome_page(end_told("FAILED"), "", None, ["0123"])
    assert "could not be read" in page
    assert "[MLflow run 0123](https://mlflow.example/#/runs/0123)" in page
