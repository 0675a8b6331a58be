"""Whether training again could end in another model than the registry already holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.artifacts import Raw
from linnet.recipe import Recipe, section_hash
from linnet.registry.versions import CHAMPION, all_versions, open_registry, version_with_alias

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Comparison:
    """Whether there is something to do, and why, in words for people."""

    changed: bool
    reason: str


def compare(recipe: Recipe, *, raw: Path, code_hash: str) -> Comparison:
    """Compare the hashes of data, recipe and code with the tags of all versions of the registered model.

    A version that lost, or was champion once, counts too: the same inputs give the same bits, and the same score.

    Raises:
        RegistryError: the registry does not answer.
    """
    name = recipe.register_.model_name
    hashes = {
        "data": ("linnet.raw_hash", Raw.content_hash(raw)),
        "recipe": ("linnet.recipe_hash", section_hash(recipe)),
        "code": ("linnet.code_hash", code_hash),
    }
    with open_registry(name) as client:
        known = all_versions(client, name)
        champion = version_with_alias(client, name, CHAMPION)
    same = [int(entry.version) for entry in known if not _changes(entry, hashes)]
    if same:
        title = " (champion)" if champion is not None and int(champion.version) in same else ""
        number = int(champion.version) if champion is not None and title else max(same)
        return Comparison(False, f"data, recipe and code are those of {name} version {number}{title}: nothing to do")
    if champion is None:
        return Comparison(True, f"{name} has no champion yet")
    changes = " and ".join(_changes(champion, hashes))
    return Comparison(True, f"{changes} changed since {name} version {champion.version} (champion)")


def _changes(entry: "ModelVersion", hashes: dict[str, tuple[str, str]]) -> list[str]:
    return [what for what, (tag, value) in hashes.items() if entry.tags.get(tag) != value]
