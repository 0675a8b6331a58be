"""Files that are whole or absent: written beside, synced, renamed; and what other stages' files cannot be read as."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from linnet.errors import LinnetError
from linnet.walk import Walk, walk

PROVENANCE = "provenance.json"  # what a stage writes last into its folder


class ArtifactError(LinnetError):
    """A stage's input is missing or is not what its name says."""


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that appears at `out` whole when the block ends, or not at all; what lay there before is replaced.

    Raises:
        ArtifactError: another process is making the same folder right now.
    """
    out = Path(out)
    if out.is_symlink():
        raise ArtifactError(
            f"{out}: is a link, in whose place a folder would come; remove it, or make a link of the folder above it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    if partial.exists():
        with folder_lock(partial, what=out):
            _remove(partial)  # what a killed run left
    if old.exists() and not out.exists():
        old.rename(out)  # the run was killed between its two renames
    _remove(old)
    partial.mkdir()
    try:
        with folder_lock(partial, what=out):
            yield partial
            for file in sorted(partial.rglob("*")):
                if file.is_file():
                    _sync(file)
            if out.exists():
                out.rename(old)
            try:
                partial.rename(out)
            except OSError:
                if old.exists():
                    old.rename(out)
                raise
            _sync(out.parent)
    except OSError as error:
        _name_finally(error, partial, out)
        raise
    finally:
        _remove(partial)
    _remove(old)


def _name_finally(error: OSError, partial: Path, out: Path) -> None:
    """Let `error` name where a file would have come to lie; `out` where it says nothing, as of a full disk."""
    error.filename = _final_name(error.filename or str(out), partial, out)
    if error.filename2 is not None:
        error.filename2 = _final_name(error.filename2, partial, out)


def _final_name(name: str | bytes, partial: Path, out: Path) -> str:
    path = Path(os.fsdecode(name))
    return str(out / path.relative_to(partial) if path.is_relative_to(partial) else path)


def copy_folder(source: Path, folder: Path, *, leave_out: Iterable[str] = ()) -> Walk:
    """Copy all files that `walk` sees in `source` into `folder`: files, where links were; names that are text.

    The bytes only, so that a read-only source makes no read-only copy. The first trouble ends it (shutil.copytree
    collects them). Returns what was there, some of which may have been left out.
    """
    found, skipped = walk(source), set(leave_out)
    for name, path in found.texts().items():
        if name not in skipped:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    return found


@contextlib.contextmanager
def folder_lock(folder: Path, *, what: Path) -> Iterator[int]:
    """No other process works in `folder` at the same time; a lock that ends with the process, however it ends.

    A child process that inherits the file descriptor that comes back holds the lock too.

    Raises:
        ArtifactError: another process does; the message names `what`.
    """
    with _opened(folder, os.O_RDONLY) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"{what}: another run is making it right now; wait for it, or stop it and repeat"
            ) from None
        yield descriptor


@contextlib.contextmanager
def path_lock(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine holds the lock of `path`; its lock file is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with _opened(lock, os.O_RDWR | os.O_CREAT) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_open_at(descriptor, lock):  # else the one before deleted it: its lock is nobody's lock
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def commit_file(partial: Path, path: Path) -> None:
    """Move a finished file to its name so that it survives a power cut."""
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name for a file that appears at `path` whole when the block ends, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        commit_file(partial, path)
    except OSError as error:
        _name_finally(error, partial, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


class Table(dict[str, Any]):
    """A table of a stage's JSON file, which says so where a key is missing: `table["x"]` raises ArtifactError."""

    def __init__(self, values: Mapping[str, Any], path: Path, made_by: str) -> None:
        super().__init__(values)
        self._path, self._made_by = path, made_by

    def __missing__(self, key: str) -> NoReturn:
        raise ArtifactError(
            f"{self._path} has no '{key}': another version of linnet made it, or somebody changed it; delete its "
            f"folder and run `linnet {self._made_by}` again"
        )


def read_json(path: Path, *, made_by: str) -> dict[str, Any]:
    """The table in a JSON file of a stage's output.

    Raises:
        ArtifactError: it is missing or damaged, also later where a key of it is; the message names the stage.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_hook=lambda table: Table(table, path, made_by))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{path} is not there; run `linnet {made_by}` first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as reason:
        raise ArtifactError(
            f"{path} is damaged ({reason}); delete its folder and run `linnet {made_by}` again"
        ) from None
    if not isinstance(value, Table):
        raise ArtifactError(f"{path} is damaged (no table); delete its folder and run `linnet {made_by}` again")
    return value


class StrictTable(BaseModel):
    """A table of a stage's JSON file with known keys: read-only, exact keys, exact types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


T = TypeVar("T", bound=StrictTable)


def read_table(kind: type[T], path: Path, *, made_by: str) -> T:
    """The table of type `kind` in a JSON file that stage `made_by` wrote.

    Raises:
        ArtifactError: it is missing, damaged or of another version of linnet; the message names the stage.
    """
    read_json(path, made_by=made_by)  # says what is wrong with a file that is no JSON
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as reason:
        error = reason.errors()[0]
        key = ".".join(str(part) for part in error["loc"])
        fault = f"no '{key}'" if error["type"] == "missing" else f"a wrong '{key}' ({error['msg']})"
        raise ArtifactError(
            f"{path} has {fault}: another version of linnet made it, or somebody changed it; delete its folder and run "
            f"`linnet {made_by}` again"
        ) from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with _opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
