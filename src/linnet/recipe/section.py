"""The base class of every table of a recipe, and the kinds of numbers in it."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(ge=0, lt=1)]
FolderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Section(BaseModel):
    """A table of the recipe: read-only, with exact keys and exact types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def section_hash(*sections: Section) -> str:
    """The sha256 of the values of sections, whatever their layout in the file."""
    values = [section.model_dump(mode="json", by_alias=True) for section in sections]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def flatten(section: Section) -> dict[str, Any]:
    """The section as MLflow shows parameters: `{"train.batch_size": 32, ...}`."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            yield prefix, value

    return dict(walk("", section.model_dump(mode="json", by_alias=True)))


def same_length(name: str, values: Sequence[int], other: str, others: Sequence[int]) -> None:
    """Raises ValueError where two lists with an entry for each level differ in length."""
    if len(values) != len(others):
        raise ValueError(f"{name} has {len(values)} entries, {other} has {len(others)}: give one entry per level.")
