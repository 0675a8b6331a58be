"""A workspace that was moved or copied: MLflow wrote down where each artifact lies by its absolute path.

mlflow.db and mlartifacts/ lie side by side, so what it says of the old place is to be read as of the new one. Without
that old versions do not load, and a new one makes the old folder anew, or writes into the original of a copy.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from linnet.files import path_lock
from linnet.progress import log
from linnet.tracking.address import artifacts_folder
from linnet.tracking.local_store import open_database

ARTIFACTS, MLFLOWS_OWN = "mlartifacts", "mlruns"  # folders beside the store: linnet's, and MLflow's own default
EXPERIMENTS = (("experiments", "artifact_location"),)  # tables and columns that hold the location of an artifact
RUNS = (("runs", "artifact_uri"),)
MODELS = (
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
TRACES = (("trace_tags", "value"),)


@dataclass(frozen=True)
class _Move:
    """A workspace as the store knows it, and where it is now."""

    old: Path
    new: Path

    def beginnings(self) -> list[tuple[str, str]]:
        """(old beginning of a location, new one), in every way that MLflow writes a folder."""
        pairs: dict[str, str] = {}
        for name in (ARTIFACTS, MLFLOWS_OWN):
            old, new = self.old / name, self.new / name
            pairs |= {f"file://{old}": f"file://{new}", old.as_uri(): new.as_uri(), str(old): str(new)}
        return list(pairs.items())


def follow_workspace(path: Path) -> None:
    """Let the locations in the store at `path` follow, where the workspace around it was moved or copied; say so.

    What lies elsewhere on purpose (LINNET_MLFLOW_ARTIFACTS, an object store) is left alone: nothing of it lies here.

    Raises:
        TrackingError: the store cannot be changed.
    """
    with open_database(path) as database:
        if not _moves(database, path):
            return
    with path_lock(path), open_database(path) as database:
        database.isolation_level = None  # transactions begin and end where it is said
        database.execute("BEGIN IMMEDIATE")
        moved = {move.old: _rewrite(database, move) for move in _moves(database, path)}
        database.execute("COMMIT")
    for old, count in moved.items():
        log(f"this workspace was moved or copied from {old}: {count} locations in {path.name} follow it")


def _moves(database: sqlite3.Connection, path: Path) -> list[_Move]:
    """Workspaces that the store believes to lie in, and where each is now."""
    is_ours: dict[Path, bool] = {}
    for (location,) in database.execute("SELECT artifact_location FROM experiments"):
        folder = _local_path(location)
        if folder is not None and folder.name == ARTIFACTS:
            is_ours[folder.parent] = True
        elif folder is not None and folder.parent.name == MLFLOWS_OWN:
            is_ours.setdefault(folder.parent.parent, False)
    today = [path.parent.resolve()]
    if artifacts_folder().name == ARTIFACTS:
        today.append(artifacts_folder().parent)
    moves = []
    for old, ours in is_ours.items():
        if not any(_is_same(old, new) or _is_same(old / ARTIFACTS, new / ARTIFACTS) for new in today):
            models, runs = _recorded(database, old, MODELS), _recorded(database, old, RUNS)
            arrived = [new for new in today if any((new / name).exists() for name in models + runs)]
            if arrived:  # under names that nobody makes twice
                moves.append(_Move(old, arrived[0]))
            elif ours and not models and not old.exists():  # moved before anything was stored
                moves.append(_Move(old, today[0]))
    return moves


def _recorded(database: sqlite3.Connection, old: Path, columns: tuple[tuple[str, str], ...]) -> list[Path]:
    """The locations below `old`, relative to it."""
    return [
        folder.relative_to(old)
        for table, column in columns
        for (location,) in database.execute(f"SELECT DISTINCT {column} FROM {table}")  # noqa: S608  constants of ours
        if (folder := _local_path(location)) is not None and folder.is_relative_to(old)
    ]


def _is_same(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def _local_path(location: str | None) -> Path | None:
    """The folder that `location` names on this machine; None for anything else."""
    if location is None:
        return None
    if location.startswith("/"):
        return Path(location)
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def _rewrite(database: sqlite3.Connection, move: _Move) -> int:
    """How many locations follow."""
    count = 0
    for begins, follows in move.beginnings():
        for table, column in (*EXPERIMENTS, *RUNS, *MODELS, *TRACES):
            count += database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608  constants of ours
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (follows, len(begins) + 1, begins, len(begins) + 1, f"{begins}/"),
            ).rowcount
    return count
