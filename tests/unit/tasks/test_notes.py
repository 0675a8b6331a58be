"""What tasks leave for the one that closes the run, and the page it makes of that."""

from pathlib import Path

import pytest

from linnet.files import ArtifactError
from linnet.tasks import notes
from linnet.tasks.boundary import task
from linnet.tasks.outcome import outcome_page


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
    assert notes.read_notes() == (
        {"evaluate": "the samples are damaged; generate them again"},
        {"gate": "# champion"},
    )
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "run-2")
    assert notes.read_notes() == ({}, {})
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "run-1")
    assert evaluate(good=True) == 1
    assert notes.read_notes() == ({}, {"gate": "# champion"})
    notes.forget_all()
    assert notes.read_notes() == ({}, {})


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
        ("FAILED", {"train": "no GPU"}, {}, "# The run failed in train", "- **train**: no GPU"),
        ("FAILED", {"train": "no GPU"}, {"gate": "# x"}, "# The run failed in train", "**Retry**"),
        ("RUNNING", {}, {}, "# The run ended as CANCELED", "no task said why: it was ended from outside"),
        ("SUCCEEDED", {}, {"look": "# Nothing changed\n\nthe same"}, "# Nothing changed", "the same"),
    ],
)
def test_the_outcome(state: str, failures: dict[str, str], results: dict[str, str], title: str, words: str) -> None:
    page = outcome_page(state, "", failures, results, ["0123"])
    assert page.splitlines()[0] == title
    assert words in page
    assert "MLflow run `0123` at " in page
