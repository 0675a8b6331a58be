"""The store in a file of one's own, mlflow.db: made once and whole, and looked at before MLflow touches it.

MLflow makes its tables in a hundred steps, each for itself. Two commands at once break each other's steps, and one that
is killed leaves a file that no later one can use. So it is made under another name, under a lock, and then renamed.
"""

import contextlib
import glob
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from linnet.errors import FULL_DATABASE, first_line
from linnet.files import new_file, path_lock
from linnet.tracking.failures import TrackingError, set_aside

SETTLED_SECONDS = 5.0  # a file that another program is making changes more often


def ensure_store(path: Path) -> None:
    """Make the store at `path` if there is none, and see that it is whole.

    Raises:
        TrackingError: it is half-made, damaged, or of another version of MLflow.
        OSError: its folder cannot be written.
    """
    if path.is_dir():
        raise TrackingError(f"{path} is a folder; MLFLOW_TRACKING_URI must name a file, or a server")
    if _is_absent(path):
        with path_lock(path):
            if _is_absent(path):  # still: another command may have made it while this one waited
                _make(path)
    head, known = _revisions()
    while (revision := _revision(path)) != head and time.time() - path.stat().st_mtime < SETTLED_SECONDS:
        time.sleep(0.5)  # another program, `mlflow ui` say, may be making it
    if revision != head:
        raise TrackingError(_unusable(path, revision, known))


def _is_absent(path: Path) -> bool:
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


def _make(path: Path) -> None:
    import mlflow

    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        left.unlink()  # by a command that was killed: the lock is ours
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")  # MLflow remembers stores by their address
    try:
        mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
        with new_file(path) as finished:
            partial.rename(finished)
    finally:
        partial.unlink(missing_ok=True)


def _revisions() -> tuple[str | None, set[str]]:
    """(the schema that MLflow wants, all that it knows)."""
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return scripts.get_current_head(), {script.revision for script in scripts.walk_revisions()}


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """The SQLite file, for SQL of ours.

    Raises:
        TrackingError: it is no database, damaged or locked.
    """
    try:
        with contextlib.closing(sqlite3.connect(path.as_uri() + "?mode=rw", uri=True, timeout=20)) as database:
            yield database
    except sqlite3.DatabaseError as reason:
        if "locked" in str(reason):
            raise TrackingError(f"{path} is locked by another program; wait for it, or stop it, then repeat") from None
        if FULL_DATABASE in str(reason):
            raise TrackingError(f"{path}: {first_line(reason)}, and repeat") from None
        if "readonly" in str(reason) or "unable to open" in str(reason):
            raise TrackingError(f"{path}: {reason}; give this user the right to read and write there") from None
        raise TrackingError(f"{path} is damaged ({reason}); {set_aside(str(path))}") from None


def _revision(path: Path) -> str | None:
    """The schema that the file says it has; None if it says none. Raises TrackingError if it is damaged."""
    with open_database(path) as database:
        is_marked = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        found = database.execute("SELECT version_num FROM alembic_version").fetchone() if is_marked else None
    return str(found[0]) if found else None


def _unusable(path: Path, revision: str | None, known: set[str]) -> str:
    import mlflow

    if revision is not None and revision not in known:
        return (
            f"{path} was made by a newer MLflow than {mlflow.__version__}, which is installed here (its schema is "
            f"{revision}); install that version (`make setup` does), or {set_aside(str(path))}"
        )
    with open_database(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        runs, models = (
            int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) if table in tables else 0  # noqa: S608
            for table in ("runs", "registered_models")
        )
    if tables and not tables & {"experiments", "alembic_version"}:
        return f"{path} is a database of something else than MLflow; set MLFLOW_TRACKING_URI to another file"
    if runs == models == 0:
        return (
            f"{path} is half-made: something stopped MLflow while it made it. It holds no runs and no models: "
            f"put it away (`mv {path} {path}.old`) and repeat"
        )
    return (
        f"{path} has the schema {revision or 'of no version'}, of an older MLflow than {mlflow.__version__}, and holds "
        f"{runs} runs and {models} registered models: keep a copy (`cp {path} {path}.old`), then "
        f"`mlflow db upgrade sqlite:///{path}` and repeat"
    )
