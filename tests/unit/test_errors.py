"""The one boundary at which errors become messages for people and exit statuses."""

import errno
import itertools
import shutil
import tempfile
from pathlib import Path

import pytest

from linnet.errors import LinnetError, Stopped, error_boundary, explain, first_line
from linnet.recipe.load import RecipeError


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (LinnetError("birds: no images"), 1, "birds: no images"),
        (RecipeError("birds.toml: unknown key"), 2, "birds.toml: unknown key"),
        (Stopped("stopped after step 7", 15), 143, "stopped after step 7; repeat the command to go on"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "/data/x: No space left on device"),
        (MemoryError(), 1, "the memory does not suffice (MemoryError). What to do: give it more memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "the memory does not suffice"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "(CUDA out of memory. Tried to"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "the memory does not suffice"),
    ],
)
def test_an_expected_error_is_one_message_and_a_status(error: Exception, status: int, words: str) -> None:
    messages: list[str] = []
    with pytest.raises(SystemExit) as ended, error_boundary(messages.append):
        raise error
    assert ended.value.code == status
    assert len(messages) == 1
    assert words in messages[0]


@pytest.mark.parametrize(
    "bug", [ValueError("a bug"), RuntimeError("a bug"), OSError("without a number"), KeyError("a")]
)
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)) as raised, error_boundary(pytest.fail):
        raise bug
    assert raised.value is bug


def test_without_an_error_nothing_happens() -> None:
    with error_boundary(pytest.fail):
        pass


def test_a_full_database_is_named_below_what_hides_it() -> None:
    error = ValueError("(raised as a result of Query-invoked autoflush)\n(OperationalError) database or disk is full\n")
    assert first_line(error).startswith("database or disk is full; free some space")


def chain(*errors: Exception) -> Exception:
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


FULL = OSError(errno.ENOSPC, "No space left on device")
NAMED = OSError(errno.ENOSPC, "No space left on device", "/disk/a.npy")


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (chain(RuntimeError("failures occurred"), FULL), "No space left on device: the disk"),
        (chain(RuntimeError("failures"), KeyError("x"), NAMED), "No space left on device: /disk/a.npy"),
        (RuntimeError("failures:\n##a##\n[Errno 28] No space left on device"), "No space left on device: the disk"),
        (chain(RuntimeError("failures occurred"), OSError(errno.EIO, "I/O error")), "failures occurred"),
    ],
)
def test_a_full_disk_is_named_wherever_a_library_hides_it(reason: Exception, line: str) -> None:
    assert first_line(reason) == line


def test_a_full_disk_of_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("linnet.errors.ROOM_FOR_TEMPORARY_FILES", shutil.disk_usage(tmp_path).total + 1)
    assert str(explain(FULL)).startswith(f"the disk of temporary files ({tmp_path}; TMPDIR names another folder): No")
    assert first_line(FULL).endswith(f"({tmp_path}; TMPDIR names another folder)")
