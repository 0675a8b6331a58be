"""The sweep file: which recipe, what is varied, by which seeds, and what is compared. Strict TOML, as recipes are."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from linnet.recipe import Section
from linnet.recipe.load import RecipeError
from pipelines.sweeping.settings import toml_text

NAME = r"^[a-z0-9][a-z0-9_-]*$"
SEEDED = ("train.seed", "sample.seed")  # every entry of `seeds` goes into both

Number = int | float


class SweepError(RecipeError):
    """A sweep cannot be run as it is; treated like a mistake in a recipe."""


class Range(Section):
    """Numbers to search in; whole ones where both ends are."""

    low: Number
    high: Number
    log: bool  # as many trials from 0.001 to 0.01 as from 0.01 to 0.1

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}.")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low} has no logarithm. Set log = false or a low above 0.")
        return self


class Choices(Section):
    """Values to choose from."""

    choices: Any


class SearchSection(Section):
    """How Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) looks for the best settings."""

    trials: PositiveInt  # settings that are tried, each by all seeds
    startup_trials: PositiveInt  # of them drawn blindly, before the estimator has something to learn from
    sampler_seed: NonNegativeInt
    space: Annotated[dict[str, Range | Choices], Field(min_length=1)]


class SweepFile(Section):
    """The whole file; its name is the sweep's."""

    recipe: Annotated[str, Field(pattern=NAME)]  # the name of a file in recipes/
    metric: str  # a key of metrics.json, such as "frechet_thumbnail"; lower is better
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(strict=False, min_length=1)]
    set_: Annotated[dict[str, Any], Field(alias="set", default_factory=dict)]  # for every run
    grid: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    search: SearchSection | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.grid is None) == (self.search is None):
            raise ValueError("give either [grid], for all combinations of values, or [search], for Optuna.")
        if twice := [seed for seed in self.seeds if self.seeds.count(seed) > 1]:
            raise ValueError(f"seeds has {twice[0]} twice: the same run twice says nothing about the spread.")
        return self


@dataclass(frozen=True)
class Choice:
    """One value of a dimension: what the table calls it, and what it sets in the recipe."""

    label: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Dimension:
    """What is varied, and its values."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Grid:
    """All combinations of all values."""

    dimensions: tuple[Dimension, ...]


@dataclass(frozen=True)
class Search:
    """Trials that Optuna proposes."""

    trials: int
    startup_trials: int
    sampler_seed: int
    space: Mapping[str, Range | Dimension]


@dataclass(frozen=True)
class Sweep:
    """A sweep file that was read."""

    path: Path
    recipe: str
    metric: str
    seeds: tuple[int, ...]
    fixed: Mapping[str, Any]
    method: Grid | Search

    @property
    def name(self) -> str:
        """Of the folder of results, and what names of experiments begin with."""
        return self.path.stem

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of the dimensions, in the file's order."""
        match self.method:
            case Grid(dimensions):
                return tuple(dimension.name for dimension in dimensions)
            case Search(space=space):
                return tuple(space)


def read_sweep(path: Path) -> Sweep:
    """The sweep in `path`. Raises SweepError with every mistake of the file that can be seen without the recipe."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        file = SweepFile.model_validate(values)
    except OSError as reason:
        raise SweepError(
            f"{path}: cannot be read ({reason.strerror}); give a sweep file, such as sweeps/birds-demo.toml"
        ) from None
    except ValidationError as error:
        raise SweepError("\n".join(f"{path}: {line}" for line in _explain(error))) from None
    except ValueError as reason:
        raise SweepError(f"{path}: is not valid TOML: {reason}") from None
    mistakes: list[str] = []
    method = _method(file, mistakes)
    sweep = Sweep(path, file.recipe, file.metric, file.seeds, file.set_, method)
    mistakes += _key_mistakes(sweep)
    if mistakes:
        raise SweepError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return sweep


def _method(file: SweepFile, mistakes: list[str]) -> Grid | Search:
    if file.search is None:
        tables = file.grid or {}
        return Grid(tuple(_dimension("grid", name, values, mistakes) for name, values in tables.items()))
    space: dict[str, Range | Dimension] = {}
    for name, values in file.search.space.items():
        match values:
            case Choices(choices=choices):
                space[name] = _dimension("search.space", name, choices, mistakes)
            case Range():
                space[name] = values
                if "." not in name:
                    mistakes.append(f"[search.space] {name}: a range is for a recipe's key, such as 'train.batch_size'")
    return Search(file.search.trials, file.search.startup_trials, file.search.sampler_seed, space)


def _dimension(table: str, name: str, values: Any, mistakes: list[str]) -> Dimension:
    match values:
        case [_, *_] if "." in name:
            return Dimension(name, tuple(Choice(toml_text(value), {name: value}) for value in values))
        case dict() if "." not in name and values and all(isinstance(value, dict) for value in values.values()):
            return Dimension(name, tuple(Choice(label, settings) for label, settings in values.items()))
    if "." in name:
        mistakes.append(f"[{table}] '{name}': give a list of values, such as [1, 2]")
    elif isinstance(values, dict) and values:
        inner = next(iter(values))
        mistakes.append(f'[{table}] {name} is a table: put the whole key into quotes, "{name}.{inner}" = [...]')
    else:
        mistakes.append(
            f"[{table}] '{name}' is no key of a recipe, such as 'train.learning_rate'; for settings that change "
            f'together write {name} = {{ small = {{ "model.widths" = [...], ... }}, large = {{ ... }} }}'
        )
    return Dimension(name, ())


def _key_mistakes(sweep: Sweep) -> Iterator[str]:
    keys = list(sweep.fixed)
    for dimension in _dimensions(sweep.method):
        labels = [choice.label for choice in dimension.choices]
        if twice := [label for label in labels if labels.count(label) > 1]:
            yield f"'{dimension.name}' has {twice[0]} twice"
        keys += dict.fromkeys(key for choice in dimension.choices for key in choice.settings)
    if isinstance(sweep.method, Search):
        keys += [name for name, values in sweep.method.space.items() if isinstance(values, Range)]
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1:
            yield f"'{key}' is set in two places"
        if key in SEEDED:
            yield f"'{key}' is what `seeds` sets; leave it out"
        if key.partition(".")[0] in ("register", "name"):
            yield f"'{key}' changes nothing that a sweep measures; leave it out"


def _dimensions(method: Grid | Search) -> list[Dimension]:
    match method:
        case Grid(dimensions):
            return list(dimensions)
        case Search(space=space):
            return [values for values in space.values() if isinstance(values, Dimension)]


def _explain(error: ValidationError) -> Iterator[str]:
    keys = ", ".join(field.alias or name for name, field in SweepFile.model_fields.items())
    ranges: set[tuple[Any, ...]] = set()
    for detail in error.errors():
        place = detail["loc"]
        if place[:2] == ("search", "space") and len(place) > 3 and detail["type"] in ("missing", "extra_forbidden"):
            if place[:3] not in ranges:  # pydantic complains once for each kind it could have been
                yield (
                    f"[search.space] '{place[2]}': write {{ low = ..., high = ..., log = ... }} or "
                    "{ choices = [...] }"
                )
            ranges.add(place[:3])
            continue
        key = ".".join(str(part) for part in place if part not in ("Range", "Choices", "int", "float"))
        match detail["type"]:
            case "missing":
                yield f"'{key}' is missing; add it (a sweep has no defaults)"
            case "extra_forbidden":
                yield f"'{key}' is unknown; at the top are {keys}"
            case "value_error":
                yield f"{key}: {detail['ctx']['error']}" if key else str(detail["ctx"]["error"])
            case _:
                yield f"{key} = {detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
