"""Users as containers and batch systems make them: what PyTorch, MLflow and DVC ask for is there."""

import getpass
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from linnet.account import complete_account

NOBODY = 123456  # in no passwd
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with pytest.raises(KeyError):
        pwd.getpwuid(NOBODY)


def test_who_has_a_name_and_a_home_keeps_everything(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    complete_account(environment, os.getuid())
    assert environment == {"HOME": str(tmp_path)}


@pytest.mark.parametrize("name", ["LOGNAME", "USER", "LNAME", "USERNAME"])
def test_a_name_that_is_given_stays(name: str, tmp_path: Path) -> None:
    environment = {name: "ada", "HOME": str(tmp_path)}
    complete_account(environment, NOBODY)
    assert environment == {name: "ada", "HOME": str(tmp_path)}


def test_a_user_without_a_name_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"HOME": str(tmp_path)}
    complete_account(environment, NOBODY)
    assert environment == {"HOME": str(tmp_path), "USER": "uid-123456", "LOGNAME": "uid-123456"}
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", environment["LOGNAME"])
    assert getpass.getuser() == "uid-123456"


def test_caches_go_elsewhere_where_home_cannot_be_written(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path / "gone"), "USER": "ada", "XDG_CACHE_HOME": "/mine"}
    complete_account(environment, os.getuid())
    place = environment.pop("MPLCONFIGDIR")
    assert environment == {"HOME": str(tmp_path / "gone"), "USER": "ada", "XDG_CACHE_HOME": "/mine"}
    assert place == str(tmp_path / "tmp" / f"linnet-{os.getuid()}")
    assert Path(place).stat().st_mode & 0o777 == 0o700


def test_a_user_without_any_home_gets_one_that_can_be_written() -> None:
    environment = {"USER": "ada"}
    complete_account(environment, NOBODY)
    assert set(environment) == {"USER", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"}
    assert os.access(environment["HOME"], os.W_OK)


def test_a_folder_that_somebody_else_made_is_not_taken(tmp_path: Path) -> None:
    theirs = tmp_path / "tmp" / f"linnet-{NOBODY}"  # ours, and so not of the user whose name it has
    theirs.mkdir()
    environment = {"USER": "ada"}
    complete_account(environment, NOBODY)
    assert environment["HOME"].startswith(f"{theirs}-")


def test_without_any_room_for_temporary_files_nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp" / "file" / "below"))
    (tmp_path / "tmp" / "file").touch()
    environment = {"USER": "ada"}
    complete_account(environment, NOBODY)
    assert environment == {"USER": "ada"}


def test_it_is_done_before_anything_else_of_linnet() -> None:
    """torch._inductor and MLflow read the variables of this process."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    code = "import linnet, os; print(os.access(os.path.expanduser('~'), os.W_OK))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment | {"HOME": "/gone"}, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"  # read-only homes stay
    code = "import linnet, os; print(os.environ['XDG_CACHE_HOME'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment | {"HOME": "/gone"}, capture_output=True, text=True, check=True)
    assert f"linnet-{os.getuid()}" in done.stdout
