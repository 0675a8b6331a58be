"""Who becomes champion, in a real registry (SQLite)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.commands import promote
from linnet.registry.gate import Candidate, Decision
from linnet.registry.versions import CHALLENGER, CHAMPION, candidate_of, decide_once
from linnet.tracking.client import connect
from support.registry import NAME, add_version
from support.tiny import tiny_recipe

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture
def client(workspace: Path) -> "MlflowClient":
    return connect()


def scored(score: float) -> dict[str, str]:
    name = "frechet_thumbnail"
    return {
        f"linnet.score.{name}": str(score),
        f"linnet.noise_score.{name}": "10.0",
        f"linnet.protocol.{name}": "p",
        "linnet.reference_hash": "r",
    }


def test_an_old_version_does_not_take_the_title_back(client: "MlflowClient") -> None:
    """A, then a better B, then A again: a repeat carries its decision out only while nothing else was decided since."""
    gate = tiny_recipe().register_.gate

    def register_again(number: int) -> Decision:
        return decide_once(client, NAME, client.get_model_version(NAME, str(number)), gate)

    def holds(alias: str) -> int:
        return int(client.get_model_version_by_alias(NAME, alias).version)

    add_version(client, scored(2.0))
    assert register_again(1).promote
    assert register_again(1).promote, "a repeat after a kill"
    add_version(client, scored(1.0))
    client.delete_registered_model_alias(NAME, CHAMPION)  # killed between the decision and the alias
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    assert register_again(2).promote
    assert (holds(CHAMPION), holds(CHALLENGER)) == (2, 2)
    again = register_again(1)
    assert again == Decision(False, "version 2 has become champion since this one was")
    assert (holds(CHAMPION), holds(CHALLENGER)) == (2, 2)
    promote.run(NAME, 1, "grey images")
    assert not register_again(2).promote
    assert register_again(1).promote
    assert (holds(CHAMPION), holds(CHALLENGER)) == (1, 2)
    client.delete_registered_model_alias(NAME, CHAMPION)
    assert register_again(1).promote, "an empty place is taken"
    assert holds(CHAMPION) == 1


def test_the_gate_reads_what_a_version_was_registered_with(client: "MlflowClient") -> None:
    """Versions of an earlier linnet have no score of real examples and no interval; some lack the gate's metric."""
    gate = tiny_recipe().register_.gate
    more = {"linnet.real_score.frechet_thumbnail": "0.25", "linnet.score_high.frechet_thumbnail": "2.5"}
    for tags in (scored(2.0) | more, scored(2.0), {"linnet.reference_hash": "r"}):
        add_version(client, tags)
    now, earlier, other = (candidate_of(client.get_model_version(NAME, str(number)), gate) for number in (1, 2, 3))
    assert now == Candidate(2.0, 10.0, "p", "r", real_score=0.25, score_high=2.5)
    assert earlier == Candidate(2.0, 10.0, "p", "r", real_score=None, score_high=None)
    assert (math.isnan(other.score), other.protocol) == (True, "without frechet_thumbnail")
