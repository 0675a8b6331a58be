"""What is asked of a real registry (SQLite): is there news to train on, who is champion, and moving it by hand."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.artifacts import Raw
from linnet.commands import promote
from linnet.commands.promote import NoVersionError, Version
from linnet.hashes import result_code_hash
from linnet.recipe import Recipe, section_hash
from linnet.registry import lineage
from linnet.stages.register import (
    CHALLENGER,
    CHAMPION,
    DECISION,
    KEPT,
    PROMOTED,
    REASON,
    Decision,
    RegistryError,
    _decide_once,
)
from linnet.tracking.client import (
    PIPELINE_RUN_TAG,
    RUN_KEY,
    TrackingError,
    check_server,
    close_pipeline_runs,
    connect,
    known_run,
)
from support.tiny import tiny_raw_data, tiny_recipe

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
NAME = "linnet-birds-tiny"


@pytest.fixture
def client(workspace: Path) -> "MlflowClient":
    return connect()


@pytest.fixture
def raw(workspace: Path) -> Path:
    return tiny_raw_data(workspace / "raw")


def hashes(recipe: Recipe, raw: Path) -> dict[str, str]:
    return {
        "linnet.raw_hash": Raw.content_hash(raw),
        "linnet.recipe_hash": section_hash(recipe),
        "linnet.code_hash": result_code_hash(),
    }


def add_version(client: "MlflowClient", tags: dict[str, str], *aliases: str) -> int:
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    version = client.create_model_version(NAME, Path.cwd().as_uri(), tags=tags)
    for alias in aliases:
        client.set_registered_model_alias(NAME, alias, version.version)
    return int(version.version)


def test_without_a_champion_there_is_something_to_do(client: "MlflowClient", raw: Path) -> None:
    assert lineage.run(tiny_recipe(), raw=raw) == lineage.Comparison(True, f"{NAME} has no champion yet")


def test_the_same_data_recipe_and_code_are_nothing_to_do(client: "MlflowClient", raw: Path) -> None:
    add_version(client, hashes(tiny_recipe(), raw), CHAMPION, CHALLENGER)
    found = lineage.run(tiny_recipe(), raw=raw)
    assert not found.changed
    assert found.reason == f"data, recipe and code are those of {NAME} version 1 (champion): nothing to do"


@pytest.mark.parametrize(
    ("tag", "what"), [("linnet.raw_hash", "data"), ("linnet.recipe_hash", "recipe"), ("linnet.code_hash", "code")]
)
def test_each_change_is_named(client: "MlflowClient", raw: Path, tag: str, what: str) -> None:
    add_version(client, hashes(tiny_recipe(), raw) | {tag: "other"}, CHAMPION)
    found = lineage.run(tiny_recipe(), raw=raw)
    assert found == lineage.Comparison(True, f"{what} changed since {NAME} version 1 (champion)")


def test_a_challenger_that_lost_is_not_trained_again(client: "MlflowClient", raw: Path) -> None:
    add_version(client, hashes(tiny_recipe("train.seed=5"), raw), CHAMPION)
    add_version(client, hashes(tiny_recipe(), raw), CHALLENGER)
    assert "version 2: nothing to do" in lineage.run(tiny_recipe(), raw=raw).reason
    changed = lineage.run(tiny_recipe("train.seed=6"), raw=raw)
    assert changed == lineage.Comparison(True, f"recipe changed since {NAME} version 1 (champion)")


def test_a_image_more_is_a_change(client: "MlflowClient", raw: Path) -> None:
    add_version(client, hashes(tiny_recipe(), raw), CHAMPION)
    image = next(raw.rglob("*.jpg"))
    image.with_name("another.jpg").write_bytes(image.read_bytes())
    assert lineage.run(tiny_recipe(), raw=raw).reason.startswith("data changed")


def test_a_registry_that_does_not_answer_is_one_sentence(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(RegistryError, match=r"http://127.0.0.1:1 .*check MLFLOW_TRACKING_URI"):
        lineage.run(tiny_recipe(), raw=raw)
    with pytest.raises(TrackingError, match=r"does not answer .*check MLFLOW_TRACKING_URI"):
        check_server(outlives_pods=False)
    with pytest.raises(TrackingError):
        close_pipeline_runs("FAILED", "")
    assert known_run("key") is None


def test_a_rollback_moves_the_alias_and_is_not_undone_by_a_repeat(client: "MlflowClient") -> None:
    scored = {"linnet.gate.metric": "fid", DECISION: PROMOTED, REASON: "fid = 9 beats"}
    add_version(client, scored | {"linnet.score.fid": "10.0"})
    add_version(client, scored | {"linnet.score.fid": "9.0"}, CHAMPION, CHALLENGER)
    promote.move(NAME, 1, "grey images")
    assert promote.versions(NAME) == [
        Version(2, "challenger", "fid = 9", "replaced by version 1 by hand: grey images"),
        Version(1, "champion", "fid = 10", "by hand: grey images"),
    ]
    assert int(client.get_model_version_by_alias(NAME, CHAMPION).version) == 1
    tags = [client.get_model_version(NAME, number).tags[DECISION] for number in ("1", "2")]
    assert tags == [PROMOTED, KEPT]  # what a repeat of `linnet register` reads
    promote.move(NAME, 1, "still grey")
    assert promote.versions(NAME)[1].reason == "by hand: still grey"


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
        return _decide_once(client, NAME, client.get_model_version(NAME, str(number)), gate)

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
    promote.move(NAME, 1, "grey images")
    assert not register_again(2).promote
    assert register_again(1).promote
    assert (holds(CHAMPION), holds(CHALLENGER)) == (1, 2)
    client.delete_registered_model_alias(NAME, CHAMPION)
    assert register_again(1).promote, "an empty place is taken"
    assert holds(CHAMPION) == 1


def test_a_name_that_is_none_is_one_sentence(client: "MlflowClient") -> None:
    with pytest.raises(NoVersionError, match="is no name of a model"):
        promote.versions("x' or")


def test_a_version_that_is_not_there(client: "MlflowClient") -> None:
    with pytest.raises(NoVersionError, match="has no model 'linnet-birds-tiny'"):
        promote.versions(NAME)
    add_version(client, {})
    with pytest.raises(NoVersionError, match="has no version 7, only 1"):
        promote.move(NAME, 7, "why not")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("SUCCEEDED", "FINISHED"),  # kfp.local
        ("COMPLETE", "FINISHED"),  # a cluster's backend, in the words of its metadata store
        ("CACHED", "FINISHED"),
        ("FAILED", "FAILED"),
        ("CANCELED", "KILLED"),
        ("CANCELLED", "KILLED"),
        ("ERROR", "FAILED"),
    ],
)
def test_the_exit_handler_closes_the_runs_of_its_pipeline_run_and_no_others(
    client: "MlflowClient", monkeypatch: pytest.MonkeyPatch, state: str, status: str
) -> None:
    from linnet.tracking.client import experiment_id

    experiment = experiment_id(client)
    own = client.create_run(experiment, tags={PIPELINE_RUN_TAG: "mine", RUN_KEY: "k"}).info.run_id
    other = client.create_run(experiment, tags={PIPELINE_RUN_TAG: "another"}).info.run_id
    monkeypatch.setenv("LINNET_PIPELINE_RUN", "mine")
    assert close_pipeline_runs(state, "the disk is full") == [own]
    run = client.get_run(own)
    assert run.info.status == status
    assert run.data.tags["linnet.pipeline_state"] == state
    assert run.data.tags["linnet.pipeline_error"] == "the disk is full"
    assert client.get_run(other).info.status == "RUNNING"
    assert known_run("k") == own
