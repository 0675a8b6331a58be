"""Whether there is news to train on, asked of a real registry (SQLite)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from linnet.artifacts import Raw
from linnet.recipe import Recipe, section_hash
from linnet.registry.lineage import Comparison, compare, compare_source, source_tag
from linnet.registry.versions import CHALLENGER, CHAMPION, RegistryError
from linnet.tracking.client import connect
from support.registry import NAME, add_version
from support.tiny import tiny_raw_data, tiny_recipe

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
CODE = "the code"


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
        "linnet.code_hash": CODE,
    }


def test_without_a_champion_there_is_something_to_do(client: "MlflowClient", raw: Path) -> None:
    assert compare(tiny_recipe(), raw=raw, code_hash=CODE) == Comparison(True, f"{NAME} has no champion yet")


def test_the_same_data_recipe_and_code_are_nothing_to_do(client: "MlflowClient", raw: Path) -> None:
    add_version(client, hashes(tiny_recipe(), raw), CHAMPION, CHALLENGER)
    found = compare(tiny_recipe(), raw=raw, code_hash=CODE)
    assert not found.changed
    assert found.reason == f"data, recipe and code are those of {NAME} version 1 (champion): nothing to do"


@pytest.mark.parametrize(
    ("tag", "what"), [("linnet.raw_hash", "data"), ("linnet.recipe_hash", "recipe"), ("linnet.code_hash", "code")]
)
def test_each_change_is_named(client: "MlflowClient", raw: Path, tag: str, what: str) -> None:
    add_version(client, hashes(tiny_recipe(), raw) | {tag: "other"}, CHAMPION)
    found = compare(tiny_recipe(), raw=raw, code_hash=CODE)
    assert found == Comparison(True, f"{what} changed since {NAME} version 1 (champion)")


def test_a_challenger_that_lost_is_not_trained_again(client: "MlflowClient", raw: Path) -> None:
    add_version(client, hashes(tiny_recipe("train.seed=5"), raw), CHAMPION)
    add_version(client, hashes(tiny_recipe(), raw), CHALLENGER)
    assert "version 2: nothing to do" in compare(tiny_recipe(), raw=raw, code_hash=CODE).reason
    changed = compare(tiny_recipe("train.seed=6"), raw=raw, code_hash=CODE)
    assert changed == Comparison(True, f"recipe changed since {NAME} version 1 (champion)")


def test_an_image_more_is_a_change(client: "MlflowClient", raw: Path) -> None:
    add_version(client, hashes(tiny_recipe(), raw), CHAMPION)
    image = next(raw.rglob("*.jpg"))
    image.with_name("another.jpg").write_bytes(image.read_bytes())
    assert compare(tiny_recipe(), raw=raw, code_hash=CODE).reason.startswith("data changed")


def test_a_registry_that_does_not_answer_is_one_sentence(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(RegistryError, match=r"http://127.0.0.1:1: .*check MLFLOW_TRACKING_URI"):
        compare(tiny_recipe(), raw=raw, code_hash=CODE)


def test_a_source_is_known_by_its_fingerprint_before_it_is_brought(client: "MlflowClient", raw: Path) -> None:
    """A version that was made from several places, with the same content, is known by each of them."""
    of_sources = {source_tag("a" * 64): "s3://one/", source_tag("b" * 64): "s3://two/"}
    add_version(client, hashes(tiny_recipe(), raw) | of_sources, CHAMPION)
    for known in ("a", "b"):
        found = compare_source(tiny_recipe(), fingerprint=known * 64, code_hash=CODE)
        assert found.reason == f"source, recipe and code are those of {NAME} version 1 (champion): nothing to do"
        assert not found.changed
    other = compare_source(tiny_recipe("train.seed=6"), fingerprint="c" * 64, code_hash=CODE)
    assert other == Comparison(True, f"source and recipe changed since {NAME} version 1 (champion)")
