"""`python -m pipelines.sweep SWEEP`: one recipe with many settings and several seeds, as DVC experiments, in one table.

Optuna chooses the settings: all combinations of a grid, or its tree-structured Parzen estimator (Bergstra et al. 2011).
One choice of settings is a trial, whose value is the mean score over the seeds; a trial with one seed is a run. A run's
name is a digest of all that decides its result, so a run whose name has a score already is not repeated. Runs end with
`evaluate`: a sweep registers nothing and moves no champion.
"""

import base64
import functools
import hashlib
import html
import io
import itertools
import json
import math
import shlex
import signal
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Self

import numpy as np
import optuna
import pandas as pd
import typer
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from scipy import stats

from linnet.artifacts import Raw
from linnet.cli import run_command
from linnet.errors import Stopped
from linnet.files import folder_lock, write_text
from linnet.progress import ProgressBar, log
from linnet.recipe import Recipe, Section, can_have_metric, metric_names
from linnet.recipe.load import RecipeError, load_recipe, read_toml
from linnet.stages import STAGES
from linnet.stages.table import result_code_hash
from linnet.tracking.client import check_server
from pipelines.experiments import ExperimentError, Workspace, changes, check_project, experiment_names, literal

BUILD, WORK, DATA = Path("build/sweeps"), Path(".work/sweeps"), Path("data")
SEEDED = ("train.seed", "sample.seed")  # every entry of `seeds` goes into both
NUMBERS = ("mean ± deviation", "95 % of the mean", "lowest to highest", "behind the best", "seeds")

Settings = dict[str, Any]  # key of the recipe -> value
Params = dict[str, Any]  # as Optuna's trials have them: name of what is varied -> label of a choice, or a number
Outcome = dict[str, Any]  # of a run: experiment, score, noise, scores, measured_by; or experiment and reason

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


class SweepError(RecipeError):
    """A sweep cannot be run as it is; treated like a mistake in a recipe."""


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
        if repeated := [seed for seed in self.seeds if self.seeds.count(seed) > 1]:
            raise ValueError(f"seeds has {repeated[0]} twice: the same run twice says nothing about the spread.")
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

    path: Path
    file: SweepFile
    space: Mapping[str, BaseDistribution]  # what is varied, in the file's order
    choices: Mapping[str, Mapping[str, Settings]]  # of what has labels: what each of them sets

    @property
    def name(self) -> str:
        """Of the folder of results, and what names of experiments begin with."""
        return self.path.stem

    @property
    def recipe_path(self) -> Path:
        """Where the recipe lies in the project."""
        return Path("recipes") / f"{self.file.recipe}.toml"

    def overrides(self, params: Params, seed: int | None = None) -> list[str]:
        """What `linnet --set` takes; without a seed the recipe's own stay."""
        settings = dict(self.file.set_)
        for name, value in params.items():
            settings |= self.choices[name][value] if name in self.choices else {name: value}
        settings |= {} if seed is None else dict.fromkeys(SEEDED, seed)
        return [f"{key}={literal(value, ' = ')}" for key, value in settings.items()]

    def read_recipe(self, params: Params, seed: int) -> Recipe:
        """The recipe with these settings. Raises RecipeError."""
        recipe = load_recipe(self.recipe_path, self.overrides(params, seed))
        if not can_have_metric(recipe.evaluate, self.file.metric):
            known = ", ".join(name for features in recipe.evaluate.features for name in metric_names(features))
            raise SweepError(
                f"{self.path}: metric = '{self.file.metric}' is not computed by [evaluate] features of the recipe; "
                f"use one of {known}"
            )
        return recipe

    def run(self, params: Params, seed: int) -> Run:
        """The run of these settings, named by all that decides its result. Raises RecipeError."""
        recipe = self.read_recipe(params, seed)
        values = recipe.model_dump(mode="json", by_alias=True)
        del values["register"], values["train"]["seed"], values["sample"]["seed"]  # a trial's runs differ by seeds only
        decides = [values, raw_hash(DATA / recipe.data.folder, self.recipe_path), result_code_hash()]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]
        return Run(f"{self.name}-{digest}-seed{seed}", params, seed, recipe)

    def combinations(self) -> list[Params]:
        """All of a grid; of a search every choice with both ends of every range, which is what can be checked of it."""
        ends = {name: _ends(distribution) for name, distribution in self.space.items()}
        return [dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values())]


@functools.cache
def raw_hash(folder: Path, recipe: Path) -> str:
    """Content hash of the raw data. Raises SweepError where it is missing."""
    if not folder.is_dir():
        raise SweepError(f"{folder} is not there; run `linnet ingest {recipe}` first")
    return Raw.content_hash(folder)


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices
        case IntDistribution() | FloatDistribution():
            return distribution.low, distribution.high
    raise AssertionError(f"no sweep has a {distribution}")


def describe(params: Mapping[Any, Any]) -> str:
    """Settings in a line, for people."""
    return ", ".join(f"{name} = {_label(value)}" for name, value in params.items())


def _label(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_sweep(path: Path) -> Sweep:
    """The sweep in `path`. Raises SweepError with every mistake of the file that can be seen without the recipe."""
    hint = "give a sweep file, such as sweeps/birds-demo.toml"
    file = read_toml(path, SweepFile, error=SweepError, hint=hint, what="sweep")
    table, varied = ("search.space", file.search.space) if file.search else ("grid", file.grid or {})
    space: dict[str, BaseDistribution] = {}
    choices: dict[str, dict[str, Settings]] = {}
    mistakes, keys = [], list(file.set_)
    for name, values in varied.items():
        try:
            found = _read_range(name, values) if file.search else _read_choices(name, values)
        except ValueError as reason:
            mistakes.append(f"[{table}] {name}: {reason}")
            continue
        if isinstance(found, dict):
            space[name], choices[name] = CategoricalDistribution(list(found)), found
            keys += dict.fromkeys(key for settings in found.values() for key in settings)
        else:
            space[name] = found
            keys.append(name)
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1:
            mistakes.append(f"'{key}' is set in two places")
        if key in SEEDED:
            mistakes.append(f"'{key}' is what `seeds` sets; leave it out")
        if key.partition(".")[0] in ("register", "name"):
            mistakes.append(f"'{key}' changes nothing that a sweep measures; leave it out")
    if mistakes:
        raise SweepError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return Sweep(path, file, space, choices)


def _read_range(name: str, values: Any) -> BaseDistribution | dict[str, Settings]:
    match values:
        case {"choices": choices, **more} if not more:
            return _read_choices(name, choices)
        case {"low": int() | float() as low, "high": int() | float() as high, "log": bool() as log_scale, **more} if (
            not more
        ):
            if "." not in name:
                raise ValueError("a range is for a recipe's key, such as 'train.batch_size'")
            if low >= high or (log_scale and low <= 0):
                raise ValueError(f"low = {low} is not below high = {high}, or has no logarithm")
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log_scale)
            return FloatDistribution(low, high, log=log_scale)
    raise ValueError("write { low = ..., high = ..., log = ... } or { choices = [...] }")


def _read_choices(name: str, values: Any) -> dict[str, Settings]:
    match values:
        case [_, *_] if "." in name:
            labels = [literal(value, " = ") for value in values]
            if repeated := [label for label in labels if labels.count(label) > 1]:
                raise ValueError(f"has {repeated[0]} twice")
            return {label: {name: value} for label, value in zip(labels, values, strict=True)}
        case dict() if "." not in name and values and all(isinstance(value, dict) for value in values.values()):
            return values
        case dict() if "." not in name and values:
            inner = next(iter(values))
            raise ValueError(f'is a table: put the whole key into quotes, "{name}.{inner}" = [...]')
    if "." in name:
        raise ValueError("give a list of values, such as [1, 2]")
    raise ValueError(
        "is no key of a recipe, such as 'train.learning_rate'; for settings that change together write "
        f'{name} = {{ small = {{ "model.widths" = [...], ... }}, large = {{ ... }} }}'
    )


def check(sweep: Sweep) -> None:
    """Everything that can be wrong with a sweep and its recipe before anything runs. Raises RecipeError."""
    if not sweep.recipe_path.is_file():
        names = ", ".join(sorted(path.stem for path in Path("recipes").glob("*.toml"))) or "none here"
        raise SweepError(f"{sweep.path}: recipe = '{sweep.file.recipe}' is not in recipes/; there are {names}")
    check_recipes(sweep)
    seen: dict[str, Params] = {}
    for params in sweep.combinations():
        other = seen.setdefault(sweep.run(params, sweep.file.seeds[0]).name, params)
        if other != params:
            both = f"    {describe(other)}\n    {describe(params)}"
            raise SweepError(f"these come to the same recipe, leave one out:\n{both}")


def check_recipes(sweep: Sweep) -> None:
    """Read the recipe with the settings of every combination. Raises SweepError naming all that are bad."""
    mistakes: dict[str, list[str]] = {}
    combinations = sweep.combinations()
    for params in combinations:
        try:
            sweep.read_recipe(params, sweep.file.seeds[0])
        except RecipeError as error:
            for line in str(error).splitlines():
                mistakes.setdefault(line, []).append(f"    where {describe(params)}")
    lines = []
    for line, where in mistakes.items():
        more = [f"    and in {len(where) - 12} more of {len(combinations)} combinations"] if len(where) > 12 else []
        lines += [line, *(where[:12] + more if len(where) < len(combinations) else [])]
    if lines:
        raise SweepError("\n".join(lines))


def open_study(sweep: Sweep, storage: str | None, identity: str) -> optuna.Study:
    """The study of this sweep; of other settings, data or code (`identity`) it is another one in the same database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = sweep.file.search.model_dump(exclude={"trials"}) if sweep.file.search else None  # a longer one goes on
    decides = [identity, sweep.file.metric, sweep.file.seeds, sweep.file.set_, sweep.file.grid, search]
    name = f"{sweep.name}-{hashlib.sha256(repr(decides).encode()).hexdigest()[:8]}"
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)


def whole_trials(sweep: Sweep, study: optuna.Study) -> list[FrozenTrial]:
    """Those with all their settings; the others were stopped while they were proposed."""
    return [trial for trial in study.get_trials() if set(trial.params) == set(sweep.space)]


def propose(search: SearchSection, sweep: Sweep, study: optuna.Study) -> None:
    """A new trial, still without a value.

    What trial n proposes depends on the sampler's seed, n, and the trials before it: so a search that was stopped goes
    on as if it had not been. (Optuna's own random state would start over and propose its first trials again.)
    """
    seed = np.random.SeedSequence([search.sampler_seed, len(study.get_trials(deepcopy=False))]).generate_state(1)
    study.sampler = optuna.samplers.TPESampler(seed=int(seed[0]), n_startup_trials=search.startup_trials)
    study.ask(dict(sweep.space))


def run_trials(sweep: Sweep, study: optuna.Study, measure: Callable[[Params, int], float | None]) -> None:
    """Bring the study to its number of trials; those that were stopped or failed earlier are measured again.

    Of a grid all is measured by the first seed before any by the second: a sweep that is stopped has seen everything.
    """
    search, space, failed = sweep.file.search, dict(sweep.space), set[int]()
    planned = [] if search else [trial.params for trial in whole_trials(sweep, study)]
    for params in [] if search else sweep.combinations():
        if params not in planned:
            study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=space))
    while True:
        running = study.get_trials(states=(TrialState.RUNNING,))
        for trial in running:
            if trial.params.keys() != space.keys():  # stopped while it was proposed
                study.tell(trial.number, state=TrialState.FAIL)
        waiting = [trial for trial in running if trial.params.keys() == space.keys() and trial.number not in failed]
        if not waiting:
            if search is None or len(whole_trials(sweep, study)) >= search.trials:
                return
            propose(search, sweep, study)
        scores: dict[int, list[float | None]] = {trial.number: [] for trial in waiting}
        for seed, trial in itertools.product(sweep.file.seeds, waiting):
            scores[trial.number].append(measure(trial.params, seed))
        for number, found in scores.items():
            if None in found:
                failed.add(number)
            else:
                study.tell(number, statistics.fmean(found))  # type: ignore[arg-type]


def read_metrics(name: str, metric: str, text: str) -> Outcome:
    """The outcome of the experiment `name`, from its metrics.json."""
    metrics = json.loads(text)
    scores = metrics["scores"]
    if metric not in scores:
        return {"experiment": name, "reason": f"metrics.json has no {metric}, only {', '.join(scores)}"}
    if not math.isfinite(scores[metric]):
        return {"experiment": name, "reason": f"{metric} is {scores[metric]}"}
    measured_by = f"{metrics['protocols'][metric]}, data {metrics['reference']['data_hash'][:8]}"
    noise = metrics["context"][metric]["noise"]
    return {"experiment": name, "score": scores[metric], "noise": noise, "scores": scores, "measured_by": measured_by}


def known_outcomes(storage: str | None, experiments: set[str]) -> dict[str, Outcome]:
    """What earlier calls measured, in whichever study, as long as its experiment exists."""
    studies = optuna.get_all_study_summaries(storage, include_best_trial=False) if storage else []
    found = [outcome for study in studies for outcome in study.user_attrs.values()]
    measured = [outcome for outcome in found if outcome["experiment"] in experiments and "score" in outcome]
    failed = [outcome for outcome in found if "reason" in outcome]
    return {outcome["experiment"]: outcome for outcome in failed + measured}


@dataclass
class Measurer:
    """Measures runs, one at a time, because a training uses all GPUs of the machine; the study remembers them."""

    sweep: Sweep
    study: optuna.Study
    outcomes: dict[str, Outcome]  # by the names of runs
    open_workspace: Callable[[], Workspace]
    workspace: Workspace | None = None

    def planned(self) -> list[Run]:
        """All runs that are known by now: of a grid all, of a search those that were proposed."""
        searched = [trial.params for trial in whole_trials(self.sweep, self.study)]
        combinations = searched if self.sweep.file.search else self.sweep.combinations()
        return [self.sweep.run(params, seed) for params in combinations for seed in self.sweep.file.seeds]

    def run_all(self) -> None:
        """Whatever is missing. Raises KeyboardInterrupt."""
        seeds, planned, search = self.sweep.file.seeds, self.planned(), self.sweep.file.search
        total = len(seeds) * search.trials if search else len(planned)
        done = {run.name for run in planned if "score" in self.outcomes.get(run.name, {})}
        log(f"{self.sweep.name}: {total} runs, {len(done)} of them done already")
        with ProgressBar("sweep: runs", total) as bar:
            complete = self.study.get_trials(states=(TrialState.COMPLETE,))
            for trial, seed in itertools.product(complete, seeds):
                self.measure(trial.params, seed, bar)  # again after `dvc exp remove`
            run_trials(self.sweep, self.study, functools.partial(self.measure, bar=bar))

    def measure(self, params: Params, seed: int, bar: ProgressBar) -> float | None:
        """The score of these settings; None if the run failed."""
        run = self.sweep.run(params, seed)
        if "score" not in self.outcomes.get(run.name, {}):
            log(f"{run.name}: {describe(params)}, seed {seed}")
            self.outcomes[run.name] = outcome = self._execute(run, bar)
            failed = f"failed: {outcome.get('reason')}"
            log(f"{run.name}: {outcome['score']:.4g}" if "score" in outcome else f"{run.name}: {failed}")
        bar.advance()
        return self.outcomes[run.name].get("score")

    def _execute(self, run: Run, bar: ProgressBar) -> Outcome:
        def on_line(line: str) -> None:
            if line.partition(":")[0] in {stage.name for stage in STAGES}:  # DVC says much more
                bar.advance(0, note=line[:70])

        self.workspace = self.workspace or self.open_workspace()
        log_file = WORK / self.sweep.name / "logs" / f"{run.name}.log"
        try:
            text = self.workspace.run(run.name, run.recipe, log_file=log_file, on_line=on_line)
        except ExperimentError as reason:
            outcome = {"experiment": run.name, "reason": f"{reason} (its whole output: {log_file})"}
            self.study.set_user_attr(run.name, outcome)
            return outcome
        outcome = read_metrics(run.name, self.sweep.file.metric, text)
        self.study.set_user_attr(run.name, outcome)
        self.workspace.hand_over()  # after it was noted: a run is done if its experiment exists
        return outcome


def tabulate_runs(sweep: Sweep, runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """One line a run; what was not started yet has the status `missing`."""
    names = dict.fromkeys(name for run in runs for name in outcomes.get(run.name, {}).get("scores", {}))
    lines = []
    for run in {run.name: run for run in runs}.values():
        outcome = outcomes.get(run.name, {})
        status = "measured" if "score" in outcome else "failed" if outcome else "missing"
        line = {"trial": run.name.rpartition("-seed")[0], "score": outcome.get("score", math.nan)}
        line |= {"experiment": run.name, **run.params, "seed": run.seed, "status": status}
        line |= {name: outcome.get("scores", {}).get(name) for name in names}
        line |= {f"{sweep.file.metric}_of_noise": outcome.get("noise"), "measured_by": outcome.get("measured_by")}
        lines.append(line | {"reason": outcome.get("reason")})
    return pd.DataFrame(lines)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Of each line, with a column a seed: mean, deviation (n - 1), and half of the mean's 95 % interval by Student's t.

    One score has no spread, and nothing is made up for it.
    """
    count, deviation = scores.count(axis=1), scores.std(axis=1)
    margin = stats.t.ppf(0.975, count - 1) * deviation / np.sqrt(count)
    return pd.DataFrame({"mean": scores.mean(axis=1), "deviation": deviation, "margin": margin})


def tabulate_trials(sweep: Sweep, runs: pd.DataFrame) -> pd.DataFrame:
    """One line a trial, the best mean first; those that lack runs after all others: their mean may be luck.

    `behind_best` is the difference to the first line, seed by seed: what is lucky for both cancels.
    """
    table = runs.drop_duplicates("trial").set_index("trial")[list(sweep.space)]
    scores = runs.pivot(index="trial", columns="seed", values="score").reindex(table.index)
    states = pd.crosstab(runs["trial"], runs["status"]).reindex(table.index)
    summary = summarise(scores)
    table = table.assign(
        **{status: states.get(status, 0) for status in ("measured", "failed", "missing")},
        mean=summary["mean"],
        deviation=summary["deviation"],
        low_95=summary["mean"] - summary["margin"],
        high_95=summary["mean"] + summary["margin"],
        lowest=scores.min(axis=1),
        highest=scores.max(axis=1),
    )
    lacking = (table["failed"] + table["missing"] > 0).rename("lacking")
    table = table.loc[pd.concat([lacking, table["mean"]], axis=1).sort_values(["lacking", "mean"], kind="stable").index]
    behind = summarise(scores.drop(index=table.index[0]) - scores.loc[table.index[0]])
    return table.assign(behind_best=behind["mean"], behind_best_margin_95=behind["margin"])


def for_people(sweep: Sweep, table: pd.DataFrame) -> pd.DataFrame:
    """The table as texts, with rounded numbers."""

    def cells(line: Any) -> list[str]:
        total = line.measured + line.failed + line.missing
        spread = f" ± {line.deviation:.2g}" if line.measured > 1 else " (one run: no spread)"
        margin = f" ± {line.behind_best_margin_95:.2g}" if line.behind_best_margin_95 >= 0 else ""
        return [
            f"{line.mean:.4g}{spread}" if line.measured else "",
            f"{line.low_95:.4g} to {line.high_95:.4g}" if line.measured > 1 else "",
            f"{line.lowest:.4g} to {line.highest:.4g}" if line.measured > 1 else "",
            "" if math.isnan(line.behind_best) else f"{line.behind_best:+.2g}{margin}",
            f"{line.measured} of {total}" if total > line.measured else str(total),
        ]

    labels = table[list(sweep.space)].map(_label)
    rounded = [cells(line) for line in table.drop(columns=list(sweep.space)).itertuples()]
    return labels.join(pd.DataFrame(rounded, index=table.index, columns=list(NUMBERS)))


def notes(sweep: Sweep, runs: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    """What has to be known to read the table, all failures, and the best settings as arguments to copy."""
    yield (
        f"{sweep.file.metric}: lower is better. ± is the standard deviation over seeds; intervals are 95 % by "
        "Student's t, those of the distance behind the best (±) from differences seed by seed."
    )
    scored = table[table["measured"] > 0]
    if len(scored) > 1:
        others, worse = len(scored) - 1, int((scored["behind_best"] > scored["behind_best_margin_95"]).sum())
        rest = "" if worse == others else "; for the rest these seeds do not say"
        yield (
            f"Worse than the best with 95 % confidence: {worse} of {others}{rest}. The best of several is also the "
            "luckiest, which no interval here takes into account."
        )
    if runs["measured_by"].nunique() > 1:
        yield (
            "The rows were measured in different ways or against different examples, so their scores do not compare; "
            "runs.csv has what pure noise scores the same way."
        )
    if (table["failed"] + table["missing"]).any():
        yield "Rows that lack runs stand last, whatever their mean."
    if missing := table["missing"].sum():
        yield f"Runs that are still missing: {missing}. The same command goes on with them."
    for run in runs[runs["status"] == "failed"].to_dict("records"):
        yield f"failed: {run['experiment']} ({describe({name: run[name] for name in sweep.space})}): {run['reason']}"
    if table["measured"].iloc[0]:
        path, best = sweep.recipe_path, sweep.overrides(table[list(sweep.space)].to_dict("records")[0])  # type: ignore[arg-type]
        before, after = (load_recipe(path, given).model_dump(mode="json", by_alias=True) for given in ((), best))
        yield f"best settings for linnet: {' '.join(f'--set {shlex.quote(override)}' for override in best)}"
        options = " ".join(f"-S {shlex.quote(f'{path}:{change}')}" for change in changes(before, after))
        yield f"best settings for dvc exp run: {options}"


def figures(sweep: Sweep, runs: pd.DataFrame, table: pd.DataFrame, study: optuna.Study) -> Iterator[str]:
    """PNG images as `data:` addresses: all runs, and Optuna's plots of the finished trials."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from optuna.visualization import matplotlib as plots

    table = table[table["measured"] > 0].iloc[::-1]  # the best above
    height = pd.Series(range(len(table)), table.index)
    figure, axes = plt.subplots(figsize=(9, 1 + 0.35 * len(table)), layout="constrained")
    axes.plot(runs["score"], runs["trial"].map(height), "o", alpha=0.6, label="a run")
    axes.set_xscale("log" if 0 < 10 * table["lowest"].min() < table["highest"].max() else "linear")
    limits = axes.get_xlim()
    margin = (table["high_95"] - table["mean"]).fillna(0)
    axes.errorbar(table["mean"], height, xerr=margin, fmt="|", markersize=14, label="mean and its 95 % interval")
    axes.set(xlim=limits, xlabel=sweep.file.metric)
    axes.set_yticks(height, [describe(params) for params in table[list(sweep.space)].to_dict("records")])
    figure.legend(loc="outside upper right", ncols=2)
    plotted = [figure]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) > 1:
            for plot in (plots.plot_slice, plots.plot_optimization_history):
                plotted.append(np.array(plot(study, target_name=sweep.file.metric)).flat[0].figure)
    for each in plotted:
        stream = io.BytesIO()
        each.savefig(stream, format="png", dpi=100)
        plt.close(each)
        yield "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .3rem .9rem .3rem 0; text-align: left; }}
tr {{ border-bottom: 1px solid #8884; }} img {{ max-width: 100%; }}</style><h1>{title}</h1>{body}</html>
"""


def write_results(sweep: Sweep, runs: pd.DataFrame, study: optuna.Study, out: Path) -> None:
    """table.md, table.csv, runs.csv and report.html, each whole or not at all."""
    table = tabulate_trials(sweep, runs)
    texts, remarks = for_people(sweep, table), list(notes(sweep, runs, table))
    title = f"{sweep.name}: {sweep.file.metric} of {sweep.file.recipe}"
    rules = ["---"] * len(sweep.space) + ["---:"] * len(NUMBERS)
    lines = [[*(f"`{name}`" for name in sweep.space), *NUMBERS], rules, *texts.to_numpy().tolist()]
    rows = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    write_text(out / "table.md", "\n".join([f"# {title}", "", *rows, *(f"\n{remark}" for remark in remarks)]) + "\n")
    write_text(out / "table.csv", table.to_csv(index=False))
    ordered = runs.set_index("trial").loc[table.index]
    write_text(out / "runs.csv", ordered[ordered["status"] != "missing"].drop(columns="score").to_csv(index=False))
    with pd.option_context("display.max_colwidth", None):
        html_table = texts.to_html(index=False, border=0)
    images = figures(sweep, runs, table, study) if table["measured"].any() else ()
    body = [*(f'<p><img alt="" src="{image}"></p>' for image in images), html_table]
    body += [f"<p>{html.escape(remark)}</p>" for remark in remarks]
    write_text(out / "report.html", PAGE.format(title=html.escape(title), body="\n".join(body)))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep, such as sweeps/birds-demo.toml.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what is done already; run nothing.")
    ] = False,
) -> None:
    """Run what is missing of a sweep, and print its table; repeated after a stop it goes on.

    Exit status 1 if a run failed: the table names it, and a repeat runs it again.
    """
    plan, project = read_sweep(file), Path.cwd()
    out, work = BUILD / plan.name, WORK / plan.name
    check(plan)
    check_project(project)
    work.mkdir(parents=True, exist_ok=True)
    with folder_lock(work, what=out) as lock:
        if not dry_run:
            out.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{out.resolve()}/study.db" if out.exists() else None
        study = open_study(plan, storage, identity=plan.run(plan.combinations()[0], plan.file.seeds[0]).name)

        def open_workspace() -> Workspace:
            check_server(outlives_pods=False)  # it also makes the local store, which short runs leave half made
            return Workspace(project, work / "workspace", lock)

        outcomes = known_outcomes(storage, experiment_names(project))
        measurer, stopped = Measurer(plan, study, outcomes, open_workspace), False
        try:
            if not dry_run:
                measurer.run_all()
        except KeyboardInterrupt:
            stopped = True
        runs = tabulate_runs(plan, measurer.planned(), measurer.outcomes)
        if len(runs):
            table = tabulate_trials(plan, runs)
            print(for_people(plan, table).to_string(index=False), *notes(plan, runs, table), sep="\n")
        if len(runs) and not dry_run:
            write_results(plan, runs, study, out)
            log(f"{out}: look at {out / 'report.html'}; the runs: `dvc exp show`, one of them: `dvc exp apply NAME`")
            if measurer.workspace and (runs["status"] == "measured").all():
                measurer.workspace.remove()
    if stopped:
        raise Stopped("stopped; finished runs are kept, a training that began keeps its checkpoint", signal.SIGINT)
    if len(runs) and (runs["status"] == "failed").any():
        raise typer.Exit(1)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs begin with it ignored
        signal.signal(number, _interrupt)
    run_command(app, if_interrupted="stopped before anything ran")
