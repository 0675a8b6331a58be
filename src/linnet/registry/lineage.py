"""Whether training again could end in another model than the registry already holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.artifacts import Raw
from linnet.recipe import Recipe, section_hash
from linnet.registry.versions import CHAMPION, all_versions, open_registry, version_with_alias

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

RAW_HASH, RECIPE_HASH, CODE_HASH = "linnet.raw_hash", "linnet.recipe_hash", "linnet.code_hash"  # tags of a version


@dataclass(frozen=True)
class Comparison:
    """Whether there is something to do, and why, in words for people."""

    changed: bool
    reason: str


def compare(recipe: Recipe, *, raw: Path, code_hash: str) -> Comparison:
    """Compare the hashes of raw data, recipe and code with the tags of all versions of the registered model.

    A version that lost, or was champion once, counts too: the same inputs give the same bits, and the same score.

    Raises:
        RegistryError: the registry does not answer.
    """
    raw_hash = Raw.content_hash(raw)
    return _compare(recipe, code_hash, "data", lambda entry: entry.tags.get(RAW_HASH) == raw_hash)


def compare_source(recipe: Recipe, *, fingerprint: str, code_hash: str) -> Comparison:
    """The same before anything is brought: with the fingerprint of the source in place of the data. Raises as above."""
    return _compare(recipe, code_hash, "source", lambda entry: source_tag(fingerprint) in entry.tags)


def source_tag(fingerprint: str) -> str:
    """The tag of a version that was made from a source with this fingerprint; its value is the source."""
    return f"linnet.source.{fingerprint[:16]}"


def _compare(recipe: Recipe, code_hash: str, what: str, has_data: "Callable[[ModelVersion], bool]") -> Comparison:
    name, recipe_hash = recipe.register_.model_name, section_hash(recipe)

    def changes(entry: "ModelVersion") -> list[str]:
        same = {
            what: has_data(entry),
            "recipe": entry.tags.get(RECIPE_HASH) == recipe_hash,
            "code": entry.tags.get(CODE_HASH) == code_hash,
        }
        return [each for each, is_same in same.items() if not is_same]

    with open_registry(name) as client:
        known = all_versions(client, name)
        champion = version_with_alias(client, name, CHAMPION)
    same = [int(entry.version) for entry in known if not changes(entry)]
    if same:
        title = " (champion)" if champion is not None and int(champion.version) in same else ""
        number = int(champion.version) if champion is not None and title else max(same)
        return Comparison(False, f"{what}, recipe and code are those of {name} version {number}{title}: nothing to do")
    if champion is None:
        return Comparison(True, f"{name} has no champion yet")
    changed = " and ".join(changes(champion))
    return Comparison(True, f"{changed} changed since {name} version {champion.version} (champion)")
