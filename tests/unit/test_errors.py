"""The one boundary at which errors become messages for people and exit statuses."""

import errno

import pytest

from linnet.errors import LinnetError, Stopped, error_boundary, first_line
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
