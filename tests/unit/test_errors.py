"""The one boundary at which errors become messages for people and exit statuses."""

import errno

import pytest

from linnet.errors import LinnetError, Stopped, error_boundary
from linnet.recipe.load import RecipeError


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (LinnetError("birds: no images"), 1, "birds: no images"),
        (RecipeError("birds.toml: unknown key"), 2, "birds.toml: unknown key"),
        (Stopped("stopped after step 7", 15), 143, "stopped after step 7; repeat the command to go on"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "/data/x: No space left on device"),
    ],
)
def test_an_expected_error_is_one_message_and_a_status(error: Exception, status: int, words: str) -> None:
    messages: list[str] = []
    with pytest.raises(SystemExit) as ended, error_boundary(messages.append):
        raise error
    assert ended.value.code == status
    assert len(messages) == 1
    assert words in messages[0]


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError("without a number"), KeyError("a")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug)) as raised, error_boundary(pytest.fail):
        raise bug
    assert raised.value is bug


def test_without_an_error_nothing_happens() -> None:
    with error_boundary(pytest.fail):
        pass
