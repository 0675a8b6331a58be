"""Progress: plain lines away from a terminal, a bar on one; nothing on standard output."""

import io
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from linnet import progress
from linnet.progress import MegabyteBar, ProgressBar, log


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_message_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    message = "recipes/[birds].toml: " + "a long line " * 30 + "[red]not markup[/red]"
    log(message)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message + "\n")


def test_lines_come_at_their_distance_with_the_time_left(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with ProgressBar("train: steps", 20) as bar:
        for _ in range(4):
            clock.now += 3
            bar.advance(note=f"loss {clock.now:g}")
        bar.advance()
        clock.now += 3
    assert capsys.readouterr().err.splitlines() == [
        "train: steps: 4/20, 12 s, 48 s left, loss 112",
        "train: steps: 5/20, 15 s, 45 s left, loss 112",
    ]


def test_the_rate_after_a_resume_counts_only_what_this_run_did(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with ProgressBar("train: steps", 20, done=10) as bar:
        clock.now += 10
        bar.advance(5)  # half a step a second, five to go
        clock.now += 1
        bar.advance(5)
    assert capsys.readouterr().err.splitlines() == ["train: steps: 15/20, 10 s, 10 s left", "train: steps: 20/20, 11 s"]


def test_an_unknown_total_is_not_shown(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with ProgressBar("ingest: files", 0) as bar:
        bar.advance(7)
    assert capsys.readouterr().err == "ingest: files: 7, 0 s\n"


def test_failed_work_does_not_report_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), ProgressBar("work", 3):
        raise RuntimeError
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    """Keeps what it is sent and says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressBar("train: steps", 3) as bar:
        for _ in range(3):
            bar.advance(note="loss [0.5]")
    shown = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"train: steps\s.*3/3.*loss \[0\.5\]", shown)


def test_bytes_are_shown_in_megabytes_begun(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    with MegabyteBar("download", 5_500_000, done_bytes=1_000_000) as bar:
        clock.now += 10
        bar.advance(1)
        clock.now += 10
        bar.advance(999_999)  # still the second megabyte: no new line
        bar.advance(-500_000)  # sent again
        bar.advance(4_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "download: megabytes: 2/6, 10 s, 40 s left",
        "download: megabytes: 6/6, 20 s",
    ]


def test_no_byte_of_any_thread_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with MegabyteBar("download", 8_000_000) as bar, ThreadPoolExecutor(8) as pool:
        for _ in range(8000):
            pool.submit(bar.advance, 1000)
    assert capsys.readouterr().err.startswith("download: megabytes: 8/8, ")
