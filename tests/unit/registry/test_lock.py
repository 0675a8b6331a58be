"""The lock of a registered model, in a real store (SQLite)."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.registry.lock import HOLDER, is_lock, model_lock
from linnet.tracking.client import connect
from support.registrations import check_versions, register_at_once
from support.registry import NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
LOCK = f"{NAME}.lock"


@pytest.fixture
def client(workspace: Path) -> "MlflowClient":
    made = connect()
    made.create_registered_model(NAME)
    return made


def names(client: "MlflowClient") -> list[str]:
    return sorted(one.name for one in client.search_registered_models())


def test_it_is_there_while_it_is_held(client: "MlflowClient") -> None:
    with model_lock(client, NAME):
        assert names(client) == [NAME, LOCK]
        assert is_lock(LOCK)
        assert not is_lock(NAME)
    assert names(client) == [NAME]
    with pytest.raises(ValueError, match="no room"), model_lock(client, NAME):
        raise ValueError("no room")
    assert names(client) == [NAME]


def test_the_second_waits_for_the_first(client: "MlflowClient") -> None:
    order = list[str]()

    def second() -> None:
        with model_lock(client, NAME):
            order.append("second")

    with model_lock(client, NAME):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_the_lock_of_a_process_that_died_expires(client: "MlflowClient", capsys: pytest.CaptureFixture[str]) -> None:
    client.create_registered_model(LOCK, tags={HOLDER: "dead"})
    began = time.monotonic()
    with model_lock(client, NAME, expires_seconds=1.5):
        assert time.monotonic() - began > 1.5
        assert dict(client.get_registered_model(LOCK).tags)[HOLDER] != "dead"
    assert names(client) == [NAME]
    assert "has not moved for 2 s: its holder is taken for dead" in capsys.readouterr().err


def test_a_lock_that_others_hold_in_turn_does_not_expire(client: "MlflowClient") -> None:
    def hold_in_turn() -> None:
        for number in range(6):
            client.create_registered_model(LOCK, tags={HOLDER: str(number)})
            time.sleep(0.5)
            held.append(dict(client.get_registered_model(LOCK).tags)[HOLDER] == str(number))
            client.delete_registered_model(LOCK)

    held = list[bool]()
    thread = threading.Thread(target=hold_in_turn)
    thread.start()
    time.sleep(0.2)
    with model_lock(client, NAME, expires_seconds=1.5):
        pass
    thread.join()
    assert all(held)


def test_what_somebody_else_has_taken_is_left(client: "MlflowClient") -> None:
    with model_lock(client, NAME):
        client.set_registered_model_tag(LOCK, HOLDER, "another, who took us for dead")
    assert names(client) == [NAME, LOCK]


def test_many_processes_at_once_make_one_version_of_each_model(
    client: "MlflowClient", workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINNET_PATIENCE", "60")  # SQLite says that it is locked
    check_versions(register_at_once(["a", "b"] * 5, workspace))
