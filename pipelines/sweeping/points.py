"""From a sweep to single runs: settings put into the recipe, checked all at once, and named by what decides them."""

import hashlib
import itertools
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.artifacts import Raw
from linnet.recipe import Recipe, can_have_metric, metric_names
from linnet.recipe.load import RecipeError, load_recipe
from linnet.stages.table import result_code_hash
from pipelines.sweeping.settings import changes, toml_text
from pipelines.sweeping.sweep_file import SEEDED, Choice, Dimension, Grid, Search, Sweep, SweepError

SHOWN_PLACES = 12
DIGEST_LETTERS = 8
MOST_CORNERS = 300  # beyond, what is varied is checked one at a time


@dataclass(frozen=True)
class Combination:
    """Settings that were chosen together; the runs of its seeds make one row of the table."""

    labels: Mapping[str, str]  # what is varied -> its value as the table shows it
    settings: Mapping[str, Any]  # recipe key -> value, those of [set] too

    def overrides(self, seed: int | None) -> list[str]:
        """What `linnet --set` takes; None leaves the recipe's own seeds."""
        settings = self.settings if seed is None else {**self.settings, **dict.fromkeys(SEEDED, seed)}
        return [f"{key}={toml_text(value)}" for key, value in settings.items()]

    def exact(self) -> list[str]:
        """The labels, but numbers of a recipe's key with all their digits."""
        return [
            toml_text(self.settings[name]) if name in self.settings else label for name, label in self.labels.items()
        ]

    def __str__(self) -> str:
        return ", ".join(f"{name} = {label}" for name, label in self.labels.items())


@dataclass(frozen=True)
class Run:
    """One combination with one seed: one DVC experiment."""

    name: str
    combination: Combination
    seed: int
    recipe: Recipe


def combine(sweep: Sweep, choices: Mapping[str, Choice]) -> Combination:
    """The settings of one choice for each dimension, on top of what is fixed."""
    settings = dict(sweep.fixed)
    for choice in choices.values():
        settings |= choice.settings
    return Combination({name: choice.label for name, choice in choices.items()}, settings)


def grid(sweep: Sweep, dimensions: Sequence[Dimension]) -> list[Combination]:
    """All combinations, the last dimension varying fastest."""
    names = [dimension.name for dimension in dimensions]
    product = itertools.product(*(dimension.choices for dimension in dimensions))
    return [combine(sweep, dict(zip(names, chosen, strict=True))) for chosen in product]


def corners(sweep: Sweep, search: Search) -> list[Combination]:
    """Every choice with both ends of every range: what can be checked of a search before it begins."""
    ends = [
        values if isinstance(values, Dimension) else Dimension(name, (at(name, values.low), at(name, values.high)))
        for name, values in search.space.items()
    ]
    if math.prod(len(dimension.choices) for dimension in ends) <= MOST_CORNERS:
        return grid(sweep, ends)
    first = {dimension.name: dimension.choices[0] for dimension in ends}
    varied = [first | {dimension.name: choice} for dimension in ends for choice in dimension.choices]
    return [combine(sweep, chosen) for chosen in varied]


def at(name: str, number: float) -> Choice:
    """A number of a range."""
    return Choice(f"{number:.4g}" if isinstance(number, float) else str(number), {name: number})


def check(sweep: Sweep, combinations: Iterable[Combination]) -> None:
    """Read the recipe with the settings of every combination. Raises SweepError naming all that are bad."""
    mistakes: dict[str, list[Combination]] = {}
    combinations = list(combinations)
    for combination in combinations:
        try:
            recipe_of(sweep, combination, sweep.seeds[0])
        except RecipeError as error:
            for line in str(error).splitlines():
                mistakes.setdefault(line, []).append(combination)
    if mistakes:
        raise SweepError("\n".join(_explain(mistakes, len(combinations))))


def _explain(mistakes: Mapping[str, Sequence[Combination]], total: int) -> Iterator[str]:
    for line, where in mistakes.items():
        yield line
        if len(where) < total:
            yield from (f"    where {combination}" for combination in where[:SHOWN_PLACES])
            if len(where) > SHOWN_PLACES:
                yield f"    and in {len(where) - SHOWN_PLACES} more of {total} combinations"


def recipe_of(sweep: Sweep, combination: Combination, seed: int) -> Recipe:
    """The recipe with these settings. Raises RecipeError."""
    recipe = load_recipe(recipe_path(sweep), combination.overrides(seed))
    if not can_have_metric(recipe.evaluate, sweep.metric):
        known = [name for features in recipe.evaluate.features for name in metric_names(features)]
        raise SweepError(
            f"{sweep.path}: metric = '{sweep.metric}' is not computed by [evaluate] features of the recipe; use one of "
            f"{', '.join(known)}"
        )
    return recipe


def arguments(sweep: Sweep, combination: Combination) -> dict[str, str]:
    """The settings to copy: by the command that takes them."""
    path = recipe_path(sweep)
    before = load_recipe(path).model_dump(mode="json", by_alias=True)
    after = load_recipe(path, combination.overrides(None)).model_dump(mode="json", by_alias=True)
    return {
        "linnet": " ".join(f"--set {shlex.quote(override)}" for override in combination.overrides(None)),
        "dvc exp run": " ".join(f"-S {shlex.quote(f'{path}:{change}')}" for change in changes(before, after)),
    }


def recipe_path(sweep: Sweep) -> Path:
    """Where the recipe lies in the project."""
    return Path("recipes") / f"{sweep.recipe}.toml"


class Namer:
    """Names runs by all that decides their result: a name that exists already is a result that exists already.

    Settings without seeds, the raw data and the code go into one digest, so the seeds of a combination stand together.
    """

    def __init__(self, sweep: Sweep, data: Path) -> None:
        self._sweep, self._data = sweep, data
        self._raw_hashes: dict[str, str] = {}

    def run(self, combination: Combination, seed: int) -> Run:
        """The run of these settings. Raises RecipeError; SweepError where its raw data is missing."""
        recipe = recipe_of(self._sweep, combination, seed)
        return Run(f"{self._sweep.name}-{self._digest(recipe)}-seed{seed}", combination, seed, recipe)

    def _digest(self, recipe: Recipe) -> str:
        values = recipe.model_dump(mode="json", by_alias=True)
        del values["register"]
        for key in SEEDED:
            section, _, name = key.partition(".")
            del values[section][name]
        decides = [values, self._raw_hash(recipe.data.folder), result_code_hash()]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:DIGEST_LETTERS]

    def _raw_hash(self, folder: str) -> str:
        if folder not in self._raw_hashes:
            raw = self._data / folder
            if not raw.is_dir():
                raise SweepError(f"{raw} is not there; run `linnet ingest {recipe_path(self._sweep)}` first")
            self._raw_hashes[folder] = Raw.content_hash(raw)
        return self._raw_hashes[folder]


def check_distinct(runs: Iterable[Run]) -> None:
    """Raises SweepError where two combinations come to the same recipe."""
    seen: dict[str, Combination] = {}
    for run in runs:
        if run.name in seen and seen[run.name] != run.combination:
            raise SweepError(
                f"these come to the same recipe, leave one out:\n    {seen[run.name]}\n    {run.combination}"
            )
        seen[run.name] = run.combination


def all_combinations(sweep: Sweep) -> list[Combination]:
    """Those that are known before anything runs: of a grid all, of a search its corners."""
    match sweep.method:
        case Grid(dimensions):
            return grid(sweep, dimensions)
        case Search():
            return corners(sweep, sweep.method)
