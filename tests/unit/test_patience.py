"""Outages are waited out, other errors are not, and the time is kept."""

import time
from collections.abc import Callable

import pytest

from linnet import patience
from linnet.patience import PatienceError, no_longer_than, patience_seconds, wait_out


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now, self.waits = 100.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made


def failing(times: int, error: type[Exception] = ConnectionError) -> Callable[[], str]:
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error("down")
        return "up"

    return call


def outage(error: Exception) -> str | None:
    return "the server is down" if isinstance(error, ConnectionError) else None


def test_waits_double_up_to_half_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert wait_out(failing(8), outage=outage, seconds=600) == "up"
    assert clock.waits == [1, 2, 4, 8, 16, 30, 30, 30]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "the server is down; trying again in 1 s and for 600 s"
    assert lines[7] == "the server is down; trying again in 30 s"


def test_the_last_try_comes_when_the_time_is_over(clock: Clock) -> None:
    with pytest.raises(ConnectionError, match="down"):
        wait_out(failing(1_000), outage=outage, seconds=20)
    assert clock.waits == [1, 2, 4, 8, 5]


def test_without_patience_the_first_error_is_the_last(clock: Clock) -> None:
    with pytest.raises(ConnectionError):
        wait_out(failing(1), outage=outage, seconds=0)
    assert clock.waits == []


def test_other_errors_are_raised_at_once(clock: Clock) -> None:
    with pytest.raises(KeyError):
        wait_out(failing(1, KeyError), outage=outage, seconds=600)
    assert clock.waits == []


@pytest.mark.parametrize(
    ("given", "in_a_pod", "seconds"),
    [(None, False, 0), (None, True, 600), ("90", True, 90), ("90", False, 90), ("0", True, 0)],
)
def test_how_long(given: str | None, in_a_pod: bool, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv(patience.VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(patience.VARIABLE, given)
    if in_a_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert patience_seconds() == seconds


@pytest.mark.parametrize("given", ["soon", "-1", "inf", "nan"])
def test_what_is_no_number_of_seconds(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, given)
    with pytest.raises(PatienceError, match="LINNET_PATIENCE = "):
        patience_seconds()


def test_what_is_nice_to_have_waits_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(patience.VARIABLE, "90")
    with no_longer_than(10):
        assert patience_seconds() == 10
    assert patience_seconds() == 90
    monkeypatch.setenv(patience.VARIABLE, "5")
    with no_longer_than(10):
        assert patience_seconds() == 5
