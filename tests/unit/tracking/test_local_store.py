"""The store in a file: whole or not at all, and said in one sentence where it is of no use."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from linnet.files import path_lock
from linnet.tracking.failures import TrackingError
from linnet.tracking.local_store import ensure_store

ENSURE = "import sys; from pathlib import Path; from linnet.tracking.local_store import ensure_store; ensure_store({})"


def process(path: Path) -> subprocess.Popen[str]:
    code = ENSURE.format(f"Path({str(path)!r})")
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def long_ago(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.fixture
def store(tmp_path: Path, empty_mlflow_database: Path) -> Path:
    """A whole one, that nobody has changed for long."""
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_mlflow_database, path)
    long_ago(path)
    return path


def test_two_processes_at_once(tmp_path: Path, empty_mlflow_database: Path) -> None:
    """Both end well, with one whole store and nothing beside it, whatever a killed one has left."""
    path = tmp_path / "a [new] store" / "mlflow.db"
    path.parent.mkdir()
    path.touch()  # as SQLite leaves it where it was killed first
    for name in (".mlflow.db.0badc0de.partial", ".mlflow.db.0badc0de.partial-journal"):
        (path.parent / name).write_bytes(b"half")
    both = [process(path), process(path)]
    for one in both:
        _, said = one.communicate(timeout=300)
        assert one.returncode == 0, said
        assert "Traceback" not in said
    assert tables(path) == tables(empty_mlflow_database)
    assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]


def test_the_second_waits_and_takes_what_the_first_has_made(tmp_path: Path, empty_mlflow_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    second = threading.Thread(target=ensure_store, args=(path,))
    with path_lock(path):
        second.start()
        second.join(1.0)
        assert [file.name for file in tmp_path.iterdir()] == [".mlflow.db.lock"]
        shutil.copy(empty_mlflow_database, path)
    second.join()
    assert path.read_bytes() == empty_mlflow_database.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_whole_store_is_left_as_it_is(store: Path) -> None:
    before = store.read_bytes()
    ensure_store(store)
    assert store.read_bytes() == before


def half_made(path: Path) -> None:
    """As MLflow leaves it when it is killed: its first tables, and no schema or an early one."""
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
        database.execute("CREATE TABLE runs (run_uuid TEXT)")


def early_schema(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0


def early_schema_with_a_run(path: Path) -> None:
    early_schema(path)
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO runs (run_uuid) VALUES ('r')")


def unknown_schema(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'from tomorrow'")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_its_last_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def no_database(path: Path) -> None:
    path.write_text("hello, world\n" * 500)


def of_something_else(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE songs (title TEXT)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (half_made, r"is half-made: .* holds no runs and no models: put it away \(`mv "),
        (early_schema, r"is half-made: .* holds no runs and no models"),
        (
            early_schema_with_a_run,
            r"holds 1 runs and 0 registered models: keep a copy .* `mlflow db upgrade sqlite:///",
        ),
        (unknown_schema, r"was made by a newer MLflow than "),
        (truncated, r"is damaged \(.*; bring it back from a copy, or begin with an empty store: `mv "),
        (without_its_last_page, r"is damaged \(database disk image is malformed\)"),
        (no_database, r"is damaged \(file is not a database\)"),
        (of_something_else, r"is a database of something else than MLflow; set MLFLOW_TRACKING_URI"),
        (a_folder, r"is a folder"),
    ],
)
def test_what_cannot_be_used_is_said_and_never_touched(store: Path, fault: Callable[[Path], None], words: str) -> None:
    fault(store)
    long_ago(store)
    before = None if store.is_dir() else store.read_bytes()
    with pytest.raises(TrackingError, match=words) as error:
        ensure_store(store)
    assert str(store) in str(error.value)
    assert "\n" not in str(error.value)
    assert store.is_dir() or store.read_bytes() == before
