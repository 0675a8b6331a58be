"""Listing versions and moving the champion by hand, in a real registry (SQLite)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.commands import promote
from linnet.commands.promote import NoReasonError, NoVersionError
from linnet.registry.versions import CHALLENGER, CHAMPION, DECISION, KEPT, PROMOTED, REASON, Version
from linnet.tracking.client import connect
from support.registry import NAME, add_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture
def client(workspace: Path) -> "MlflowClient":
    return connect()


def test_a_rollback_moves_the_alias_and_is_not_undone_by_a_repeat(client: "MlflowClient") -> None:
    scored = {"linnet.gate.metric": "fid", DECISION: PROMOTED, REASON: "fid = 9 beats"}
    add_version(client, scored | {"linnet.score.fid": "10.0"})
    add_version(client, scored | {"linnet.score.fid": "9.0"}, CHAMPION, CHALLENGER)
    promote.run(NAME, 1, "grey images")
    assert promote.list_versions(NAME) == [
        Version(2, "challenger", "fid = 9", "replaced by version 1 by hand: grey images"),
        Version(1, "champion", "fid = 10", "by hand: grey images"),
    ]
    assert int(client.get_model_version_by_alias(NAME, CHAMPION).version) == 1
    tags = [client.get_model_version(NAME, number).tags[DECISION] for number in ("1", "2")]
    assert tags == [PROMOTED, KEPT]  # what a repeat of `linnet register` reads
    promote.run(NAME, 1, "still grey")
    assert promote.list_versions(NAME)[1].reason == "by hand: still grey"


def test_a_name_that_is_none_is_one_sentence(client: "MlflowClient") -> None:
    with pytest.raises(NoVersionError, match="is no name of a model"):
        promote.list_versions("x' or")


def test_a_version_that_is_not_there(client: "MlflowClient") -> None:
    with pytest.raises(NoVersionError, match="has no model 'linnet-birds-tiny'"):
        promote.list_versions(NAME)
    add_version(client, {})
    with pytest.raises(NoVersionError, match="has no version 7, only 1"):
        promote.run(NAME, 7, "why not")


def test_a_rollback_needs_a_reason(client: "MlflowClient") -> None:
    add_version(client, {})
    with pytest.raises(NoReasonError, match="--version needs --reason"):
        promote.run(NAME, 1, "")
