"""A sweep's file: which settings and seeds of which recipe, and what a run of it is called."""

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from linnet.artifacts import Raw
from linnet.recipe import Recipe, Section, can_have_metric, metric_names
from linnet.recipe.load import RecipeError, load_recipe, read_toml
from linnet.stages.table import result_code_hash

DATA = Path("data")
SEEDED = ("train.seed", "sample.seed")  # every entry of `seeds` goes into both
HOW = {
    "grid": 'give a list of different values, such as "train.learning_rate" = [0.001, 0.002] with the whole key in '
    'quotes, or settings that change together, such as size = { small = { "model.widths" = [16, 16] }, large = ... }',
    "search.space": "write { choices = ... } with what a grid has, or for a number of the recipe { low = ..., "
    "high = ..., log = true or false }: low is below high, and above 0 for a logarithm",
}
Settings = dict[str, Any]  # key of the recipe -> value
Params = dict[str, Any]  # as Optuna's trials have them: name of what is varied -> label of a choice, or a number


class SweepError(RecipeError):
    """A sweep cannot be run as it is, or one of its experiments failed; treated like a mistake in a recipe."""


class SearchSection(Section):
    """How Optuna's tree-structured Parzen estimator looks for the best settings."""

    trials: PositiveInt  # settings that are tried, each by all seeds
    startup_trials: PositiveInt  # of them random ones, before the estimator has something to learn from
    sampler_seed: NonNegativeInt
    space: Annotated[dict[str, Any], Field(min_length=1)]


class SweepFile(Section):
    """The whole file; its name is the sweep's."""

    recipe: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # the name of a file in recipes/
    metric: str  # a key of metrics.json, such as "frechet_thumbnail"; lower is better
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(strict=False, min_length=1)]
    set_: Annotated[dict[str, Any], Field(alias="set", default_factory=dict)]  # for every run
    grid: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    search: SearchSection | None = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.grid is None) == (self.search is None):
            raise ValueError("give either [grid], for all combinations of values, or [search], for Optuna.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds has one twice: the same run twice says nothing about the spread.")
        return self


@dataclass(frozen=True)
class Run:
    """A trial with one seed: one DVC experiment."""

    name: str
    params: Params
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Sweep:
    """A sweep file that was read."""

    name: str  # of the folder of results, and what names of experiments begin with
    file: SweepFile
    space: Mapping[str, BaseDistribution]  # what is varied, in the file's order
    choices: Mapping[str, Mapping[str, Settings]]  # of what has labels: what each of them sets

    @property
    def recipe_path(self) -> Path:
        """Where the recipe lies in the project."""
        return Path("recipes") / f"{self.file.recipe}.toml"

    def settings(self, params: Params, seed: int | None = None) -> Settings:
        """What is changed in the recipe; without a seed its own stay."""
        settings = dict(self.file.set_)
        for name, value in params.items():
            settings |= self.choices[name][value] if name in self.choices else {name: value}
        return settings | ({} if seed is None else dict.fromkeys(SEEDED, seed))

    def read_recipe(self, params: Params, seed: int) -> Recipe:
        """The recipe with these settings. Raises RecipeError."""
        recipe = load_recipe(self.recipe_path, overrides(self.settings(params, seed)))
        if not can_have_metric(recipe.evaluate, self.file.metric):
            known = ", ".join(name for features in recipe.evaluate.features for name in metric_names(features))
            raise SweepError(
                f"metric = '{self.file.metric}' is not computed by [evaluate] features of {self.recipe_path}; use one "
                f"of {known}"
            )
        return recipe

    def run(self, params: Params, seed: int) -> Run:
        """The run of these settings, named by all that decides its result. Raises RecipeError."""
        recipe = self.read_recipe(params, seed)
        values = recipe.model_dump(mode="json", by_alias=True)
        del values["register"], values["train"]["seed"], values["sample"]["seed"]  # a trial's runs differ by seeds only
        data = raw_hash(DATA / recipe.data.folder, self.recipe_path)
        decides = [values, data, result_code_hash(), self.file.metric]
        return Run(f"{self.name}-{digest(decides)}-seed{seed}", params, seed, recipe)

    def combinations(self) -> list[Params]:
        """All of a grid; of a search every choice with both ends of every range, which is what can be checked of it."""
        values = [
            each.choices if isinstance(each, CategoricalDistribution) else (each.low, each.high)  # type: ignore[attr-defined]
            for each in self.space.values()
        ]
        return [dict(zip(self.space, chosen, strict=True)) for chosen in itertools.product(*values)]


@functools.cache
def raw_hash(folder: Path, recipe: Path) -> str:
    """Content hash of the raw data. Raises SweepError where it is missing."""
    if not folder.is_dir():
        raise SweepError(f"{folder} is not there; run `linnet ingest {recipe}` first")
    return Raw.content_hash(folder)


def digest(value: Any) -> str:
    """Eight hexadecimal digits for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def literal(value: Any, between: str = " = ") -> str:
    """JSON with bare keys and `between` after them: " = " makes it a value of TOML, ":" one of `dvc exp run -S`."""
    return re.sub(r'"(\w+)": ', rf"\1{between}", json.dumps(value, ensure_ascii=False))


def overrides(settings: Settings) -> list[str]:
    """Settings as `linnet --set` takes them."""
    return [f"{key}={literal(value)}" for key, value in settings.items()]


def dvc_changes(path: Path, settings: Settings) -> Iterator[str]:
    """Settings as `dvc exp run -S` takes them; it merges tables, so what a table had before is taken out first."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield f"{path}:~{key}"
        yield f"{path}:++{key}={literal(value, ':')}"


def describe(params: Mapping[Any, Any]) -> str:
    """Settings in a line, for people."""
    return ", ".join(f"{name} = {label_of(value)}" for name, value in params.items())


def label_of(value: Any) -> str:
    """A setting as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_sweep(path: Path) -> Sweep:
    """The sweep in `path`. Raises SweepError with every mistake of the file that can be seen without the recipe."""
    hint = "give a sweep file, such as sweeps/birds-demo.toml"
    file = read_toml(path, SweepFile, error=SweepError, hint=hint, what="sweep")
    grid = {name: {"choices": values} for name, values in (file.grid or {}).items()}
    table, varied = ("search.space", file.search.space) if file.search else ("grid", grid)
    space: dict[str, BaseDistribution] = {}
    choices: dict[str, dict[str, Settings]] = {}
    mistakes, keys = [], list(file.set_)
    for name, values in varied.items():
        match values:
            case {"choices": given, **more} if not more and (found := _read_choices(name, given)):
                space[name], choices[name] = CategoricalDistribution(list(found)), found
                keys += dict.fromkeys(key for settings in found.values() for key in settings)
            case {
                "low": int() | float() as low,
                "high": int() | float() as high,
                "log": bool() as log_scale,
                **more,
            } if not more and "." in name and low < high and (low > 0 or not log_scale):
                whole = isinstance(low, int) and isinstance(high, int)
                space[name] = (IntDistribution if whole else FloatDistribution)(low, high, log=log_scale)  # type: ignore[arg-type]
                keys.append(name)
            case _:
                mistakes.append(f"[{table}] {name}: {HOW[table]}")
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1:
            mistakes.append(f"'{key}' is set in two places")
        if key in SEEDED:
            mistakes.append(f"'{key}' is what `seeds` sets; leave it out")
        if key.partition(".")[0] in ("register", "name"):
            mistakes.append(f"'{key}' changes nothing that a sweep measures; leave it out")
    if mistakes:
        raise SweepError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return Sweep(path.stem, file, space, choices)


def _read_choices(name: str, values: Any) -> dict[str, Settings]:
    """What each label sets; empty where `values` are no choices."""
    if isinstance(values, list) and "." in name:
        labels = {literal(value): {name: value} for value in values}
        return labels if len(labels) == len(values) else {}
    if isinstance(values, dict) and "." not in name and all(isinstance(each, dict) for each in values.values()):
        return values
    return {}


def check_recipes(sweep: Sweep) -> None:
    """Read the recipe with the settings of every combination. Raises SweepError naming all mistakes and where."""
    mistakes: dict[str, list[str]] = {}
    combinations = sweep.combinations()
    for params in combinations:
        try:
            sweep.read_recipe(params, sweep.file.seeds[0])
        except RecipeError as error:
            for line in str(error).splitlines():
                mistakes.setdefault(line, []).append(describe(params))
    if mistakes:
        total = len(combinations)
        where = [
            "" if len(found) == total else f"\n    in {len(found)} of {total} combinations, such as {found[0]}"
            for found in mistakes.values()
        ]
        raise SweepError("\n".join(map(str.__add__, mistakes, where)))
