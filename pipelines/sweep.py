"""`python -m pipelines.sweep SWEEP`: one recipe with many settings and several seeds, as DVC experiments, in one table.

Optuna chooses the settings: all combinations of a grid, or its tree-structured Parzen estimator (Bergstra et al. 2011).
One choice of settings is a trial, whose value is the mean score over the seeds; a trial with one seed is a run. A run's
name is a digest of all that decides its result, so a run whose name has a score already is not repeated. Runs end with
`evaluate`: a sweep registers nothing and moves no champion.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import optuna
import pandas as pd
import typer
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from scipy import stats
from sqlalchemy.pool import NullPool

import linnet
from linnet.artifacts import Raw, Report
from linnet.cli import run_command
from linnet.errors import Stopped, redact_credentials
from linnet.files import folder_lock, write_text
from linnet.progress import ProgressBar, log
from linnet.recipe import Recipe, Section, can_have_metric, metric_names
from linnet.recipe.load import RecipeError, load_recipe, read_toml
from linnet.stages.table import result_code_hash
from linnet.tasks.environment import weights_by_absolute_path
from linnet.tracking.client import check_server

BUILD, WORK, DATA = Path("build/sweeps"), Path(".work/sweeps"), Path("data")
SEEDED = ("train.seed", "sample.seed")  # every entry of `seeds` goes into both
STATUSES = ("measured", "failed", "missing")
TRACKED = ("src", "recipes", "dvc.yaml", "params.yaml", "versions.toml", "data.dvc")  # what an experiment is made of
DVC = (sys.executable, "-m", "dvc")
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_PYTHON_REFRESH": "quiet", "DVC_EXP_AUTO_PUSH": "false"}
STOPPING_SECONDS = 120.0  # for a checkpoint to be written
HOW = {
    "grid": 'give a list of different values, such as "train.learning_rate" = [0.001, 0.002] with the whole key in '
    'quotes, or settings that change together, such as size = { small = { "model.widths" = [16, 16] }, large = ... }',
    "search.space": "write { choices = ... } with what a grid has, or for a number of the recipe { low = ..., "
    "high = ..., log = true or false }: low is below high, and above 0 for a logarithm",
}

Settings = dict[str, Any]  # key of the recipe -> value
Params = dict[str, Any]  # as Optuna's trials have them: name of what is varied -> label of a choice, or a number
Outcome = dict[str, Any]  # of a run: experiment, status, and its scores or the reason why there are none

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


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
    return ", ".join(f"{name} = {_label(value)}" for name, value in params.items())


def _label(value: Any) -> str:
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


def open_study(sweep: Sweep, storage: str | None, identity: str) -> optuna.Study:
    """The study of this sweep; of other settings, data or code (`identity`) it is another one in the same database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = sweep.file.model_dump(mode="json", exclude={"search": {"trials"}})  # with more trials a search goes on
    name = f"{sweep.name}-{digest([identity, file])}"
    return optuna.create_study(storage=open_database(storage), study_name=name, load_if_exists=True)


def open_database(storage: str | None) -> RDBStorage | None:
    """Optuna's storage at this address, whose connections are closed after each use; None stays in memory."""
    return None if storage is None else RDBStorage(storage, engine_kwargs={"poolclass": NullPool})


def propose(search: SearchSection, sweep: Sweep, study: optuna.Study) -> Params:
    """What to try next; it depends only on the sampler's seed and the trials before.

    So a search that was stopped goes on as if it had not been: Optuna's own random state would start over and propose
    its first trials again. It is asked in memory, because a kill must not leave half a proposal in the database.
    """
    trials = study.get_trials()
    seed = np.random.SeedSequence([search.sampler_seed, len(trials)]).generate_state(1)
    sampler = optuna.samplers.TPESampler(seed=int(seed[0]), n_startup_trials=search.startup_trials)
    draft = optuna.create_study(sampler=sampler)
    draft.add_trials(trials)
    return draft.ask(dict(sweep.space)).params


def run_trials(sweep: Sweep, study: optuna.Study, measure: Callable[[Params, int], float | None]) -> None:
    """Bring the study to its number of trials; those that were stopped or failed earlier are open and measured again.

    Of a grid all is measured by the first seed before any by the second: a sweep that is stopped has seen everything.
    (Optuna's GridSampler shuffles, and a point that is begun when the process is killed is lost to it.)
    """

    def add(params: Params) -> None:
        space = dict(sweep.space)
        study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=space))

    def run(first: int) -> None:
        trials = study.get_trials()[first:]
        by_seed = [[measure(trial.params, seed) for trial in trials] for seed in sweep.file.seeds]
        for trial, scores in zip(trials, zip(*by_seed, strict=True), strict=True):
            found = [score for score in scores if score is not None]
            if trial.state == TrialState.RUNNING and len(found) == len(scores):
                study.tell(trial.number, statistics.fmean(found))

    if sweep.file.grid:
        for params in sweep.combinations()[len(study.get_trials()) :]:
            add(params)
    run(0)
    while (search := sweep.file.search) and (count := len(study.get_trials(deepcopy=False))) < search.trials:
        add(propose(search, sweep, study))
        run(count)


def read_metrics(name: str, metric: str, text: str) -> Outcome:
    """The outcome of the experiment `name`, from its metrics.json."""
    metrics = json.loads(text)
    scores = metrics["scores"]
    if not math.isfinite(scores.get(metric, math.nan)):
        reason = f"metrics.json has no finite number as {metric}: {json.dumps(scores)}"
        return {"experiment": name, "status": "failed", "reason": reason}
    measured_by = f"{metrics['protocols'][metric]}, data {metrics['reference']['data_hash'][:8]}"
    outcome = {"experiment": name, "status": "measured", "score": scores[metric], "scores": scores}
    return outcome | {"noise": metrics["context"][metric]["noise"], "measured_by": measured_by}


def known_outcomes(storage: str | None, experiments: set[str]) -> dict[str, Outcome]:
    """What earlier calls noted, in whichever study; a score is forgotten with its experiment."""
    studies = (
        optuna.get_all_study_summaries(database, include_best_trial=False)
        if (database := open_database(storage))
        else []
    )
    found = [outcome for study in studies for outcome in study.user_attrs.values()]
    valid = [each for each in found if each["status"] == "failed" or each["experiment"] in experiments]
    return {each["experiment"]: each for each in sorted(valid, key=lambda each: STATUSES[::-1].index(each["status"]))}


def command(folder: Path, *arguments: str, **variables: str) -> str:
    """Run git, or DVC of this environment, in `folder` and return what it printed. Raises SweepError."""
    program = DVC if arguments[0] == "dvc" else ("git",)
    environment = os.environ | QUIET | variables
    done = subprocess.run([*program, *arguments[1:]], cwd=folder, env=environment, capture_output=True, text=True)  # noqa: PLW1510
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SweepError(f"`{' '.join(arguments)[:80]}` in {folder}: {complaint[-1]}")
    return done.stdout.strip()


def experiment_names(project: Path) -> set[str]:
    """Of all experiments, whichever commit they started from."""
    references = command(project, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return {reference.rpartition("/")[2] for reference in references}


def stage_environment(project: Path) -> dict[str, str]:
    """For stages that run in a clone: MLflow's store and the files of weights stay those of the project."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme, separator, path = uri.rpartition(":///")
    if ":" not in path and (scheme.startswith("sqlite") or not scheme):
        uri = f"{scheme}{separator}{project / path}"  # an absolute path stays what it is
    artifacts = os.environ.get("LINNET_MLFLOW_ARTIFACTS") or str(project / "mlartifacts")
    return weights_by_absolute_path() | {"MLFLOW_TRACKING_URI": uri, "LINNET_MLFLOW_ARTIFACTS": artifacts}


class Workspace:
    """A clone of the project in which experiments run, with the project's files as they were when it was made.

    `dvc exp run`, also with --temp, resets the files of the project for a moment at every start, while somebody edits
    them; --temp also copies the data for every run, and deletes the checkpoint of a training that is stopped. The clone
    shares DVC's cache with the project and hands every finished experiment back.
    """

    def __init__(self, project: Path, folder: Path, lock: int) -> None:
        """Make the clone or renew it. A run inherits the open file `lock`: it is held while one outlives its parent."""
        self.project, self.folder, self.lock = project, folder.resolve(), lock
        if "data.dvc:" in command(project, "dvc", "status", "data.dvc"):  # `dvc repro` does so too
            log("data/ is not what data.dvc says; saving it with `dvc commit data.dvc`")
            command(project, "dvc", "commit", "--quiet", "--force", "data.dvc")
        self.head = command(project, "git", "rev-parse", "HEAD")
        with tempfile.TemporaryDirectory() as temporary:  # not the project's index, which somebody may be using
            index = {"GIT_INDEX_FILE": f"{temporary}/index"}
            command(project, "git", "read-tree", "HEAD", **index)
            command(project, "git", "add", "--all", "--", *TRACKED, **index)
            self.files = command(project, "git", "write-tree", **index)
        if not (self.folder / ".git" / "index").exists():
            shutil.rmtree(self.folder, ignore_errors=True)  # what a killed command left
            command(project, "git", "clone", "--quiet", "--shared", "--no-checkout", str(project), str(self.folder))
        for left_by_a_kill in (self.folder / ".git").rglob("*.lock"):  # nobody else works there: `lock` is held
            left_by_a_kill.unlink()
        for key, fallback in (("user.name", "linnet sweep"), ("user.email", "sweep@localhost")):
            value = command(project, "git", "config", "--default", fallback, "--get", key)
            command(self.folder, "git", "config", key, value)
        self.reset()
        if (local := project / ".dvc" / "config.local").is_file():
            shutil.copy(local, self.folder / ".dvc")
        command(self.folder, "dvc", "cache", "dir", "--local", command(project, "dvc", "cache", "dir"))

    def reset(self) -> None:
        """The project's files as they were at the start, and no experiment, finished or not."""
        for name in command(self.folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split():
            command(self.folder, "git", "update-ref", "--no-deref", "-d", name)
        command(self.folder, "git", "stash", "clear")
        command(self.folder, "git", "checkout", "--quiet", "--force", "--detach", self.head)
        command(self.folder, "git", "clean", "--quiet", "--force", "-d")
        command(self.folder, "git", "restore", f"--source={self.files}", "--staged", "--worktree", ":/")

    def run(self, run: Run, sweep: Sweep, log_file: Path) -> Outcome:
        """Run the recipe from preprocess to evaluate as an experiment.

        Raises:
            KeyboardInterrupt: the run was stopped; repeated, it goes on from its checkpoint.
        """
        self.reset()
        name, path = run.recipe.name, sweep.recipe_path
        changes = [f"recipes=[{name}]", *dvc_changes(path, sweep.settings(run.params, run.seed))]
        more = {
            "PYTHONPATH": os.pathsep.join([str(self.folder / "src"), os.environ.get("PYTHONPATH", "")]).rstrip(":"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }  # the code that the experiment records, no other
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [*DVC, "exp", "run", "--name", run.name, *(f"-S{change}" for change in changes), f"evaluate@{name}"],
                cwd=self.folder,
                env=os.environ | QUIET | stage_environment(self.project) | more,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it once, through us
                pass_fds=(self.lock,),
            )
            try:
                status = process.wait()
            except KeyboardInterrupt:
                _stop(process)
                raise
        if status:
            reason = failure_reason(log_file.read_text(encoding="utf-8", errors="replace"), status)
            return {"experiment": run.name, "status": "failed", "reason": f"{reason} (its whole output: {log_file})"}
        assert load_recipe(self.folder / path) == run.recipe, f"{run.name} ran with another recipe; see {log_file}"
        metrics = (self.folder / "build" / name / "report" / Report.metrics).read_text(encoding="utf-8")
        return read_metrics(run.name, sweep.file.metric, metrics)

    def hand_over(self, name: str) -> None:
        """Make the experiment `name` one of the project's."""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", str(self.folder))
        command(self.project, "git", "fetch", *options, f"+refs/exps/*/{name}:refs/exps/*/{name}")


def failure_reason(output: str, status: int) -> str:
    """The reason in what a failed run printed: linnet's own sentence, or DVC's."""
    for start in ("linnet: ", "ERROR: "):
        if found := [line for line in output.splitlines() if line.startswith(start)]:
            return redact_credentials(found[-1].removeprefix(start))
    return f"exit status {status}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the stage write its checkpoint; a second Ctrl-C, or no end for long, ends it at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=STOPPING_SECONDS)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Measurer:
    """Measures runs, one at a time, because a training uses all GPUs of the machine; the study remembers them."""

    sweep: Sweep
    study: optuna.Study
    outcomes: dict[str, Outcome]  # by the names of runs
    open_workspace: Callable[[], Workspace]  # only if something is missing

    def planned(self) -> list[Run]:
        """All runs that are known by now: of a grid all, of a search those that were proposed."""
        searched = [trial.params for trial in self.study.get_trials()]
        combinations = searched if self.sweep.file.search else self.sweep.combinations()
        return [self.sweep.run(params, seed) for params in combinations for seed in self.sweep.file.seeds]

    def is_measured(self, run: Run) -> bool:
        """Whether it has a score."""
        return run.name in self.outcomes and self.outcomes[run.name]["status"] == "measured"

    def run_all(self) -> None:
        """Whatever is missing. Raises KeyboardInterrupt."""
        planned, search = self.planned(), self.sweep.file.search
        total = len(self.sweep.file.seeds) * search.trials if search else len(planned)
        done = {run.name for run in planned if self.is_measured(run)}
        log(f"{self.sweep.name}: {total} runs, {len(done)} of them done already")
        with ProgressBar("sweep: runs", total) as bar:
            run_trials(self.sweep, self.study, functools.partial(self.measure, bar=bar))

    def measure(self, params: Params, seed: int, bar: ProgressBar) -> float | None:
        """The score of these settings; None if the run failed."""
        run = self.sweep.run(params, seed)
        if not self.is_measured(run):
            log_file = WORK / self.sweep.name / "logs" / f"{run.name}.log"
            log(f"{run.name}: {describe(params)}, seed {seed}; its output: {log_file}")
            workspace = self.open_workspace()
            self.outcomes[run.name] = outcome = workspace.run(run, self.sweep, log_file)
            self.study.set_user_attr(run.name, outcome)
            if self.is_measured(run):
                workspace.hand_over(run.name)  # after it was noted: a run is done if its experiment exists
            log(f"{run.name}: {outcome.get('reason') or outcome['score']}")
        bar.advance()
        return self.outcomes[run.name].get("score")


def tabulate_runs(sweep: Sweep, runs: Sequence[Run], outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """One line a run; what was not started yet has the status `missing`."""
    lines = []
    for run in {run.name: run for run in runs}.values():
        outcome: Outcome = {"status": "missing", "score": math.nan, "scores": {}, "noise": None, "measured_by": None}
        outcome |= {"reason": None} | outcomes.get(run.name, {})
        line = {"trial": run.name.rpartition("-seed")[0], "experiment": run.name, **run.params, "seed": run.seed}
        lines.append(line | outcome | outcome["scores"] | {f"{sweep.file.metric}_of_noise": outcome["noise"]})
    return pd.DataFrame(lines).drop(columns=["scores", "noise"], errors="ignore")


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
    table = runs.groupby("trial", sort=False)[list(sweep.space)].first()
    scores = runs.pivot(index="trial", columns="seed", values="score").reindex(table.index)
    states = pd.crosstab(runs["trial"], runs["status"]).reindex(index=table.index, columns=STATUSES, fill_value=0)
    summary = summarise(scores)
    table = table.join(states).assign(
        mean=summary["mean"],
        deviation=summary["deviation"],
        low_95=summary["mean"] - summary["margin"],
        high_95=summary["mean"] + summary["margin"],
        lowest=scores.min(axis=1),
        highest=scores.max(axis=1),
        lacking=states["failed"] + states["missing"] > 0,
    )
    table = table.sort_values(["lacking", "mean"]).drop(columns="lacking")
    behind = summarise(scores.drop(index=table.index[0]) - scores.loc[table.index[0]])
    return table.assign(behind_best=behind["mean"], behind_best_margin_95=behind["margin"])


def for_people(sweep: Sweep, table: pd.DataFrame) -> pd.DataFrame:
    """The table as texts, with rounded numbers."""

    def cells(line: Any) -> dict[str, str]:
        total, several = line.measured + line.failed + line.missing, line.measured > 1
        spread = f" ± {line.deviation:.2g}" if several else " (one run: no spread)"
        margin = f" ± {line.behind_best_margin_95:.2g}" if line.behind_best_margin_95 >= 0 else ""
        return {
            "mean ± deviation": f"{line.mean:.4g}{spread}" if line.measured else "",
            "95 % of the mean": f"{line.low_95:.4g} to {line.high_95:.4g}" if several else "",
            "lowest to highest": f"{line.lowest:.4g} to {line.highest:.4g}" if several else "",
            "behind the best": "" if math.isnan(line.behind_best) else f"{line.behind_best:+.2g}{margin}",
            "seeds": f"{line.measured} of {total}" if total > line.measured else str(total),
        }

    numbers = table.drop(columns=list(sweep.space)).itertuples()
    return table[list(sweep.space)].map(_label).join(pd.DataFrame([cells(line) for line in numbers], index=table.index))


def notes(sweep: Sweep, runs: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    """What has to be known to read the table, all failures, and the best settings as arguments to copy."""
    yield (
        f"{sweep.file.metric}: lower is better. ± is the standard deviation over seeds; intervals are 95 % by "
        "Student's t, those of the distance behind the best (±) from differences seed by seed."
    )
    others = int((table["measured"] > 0).sum()) - 1
    if others > 0:
        worse = int((table["behind_best"] > table["behind_best_margin_95"]).sum())
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
    if missing := table["missing"].sum():
        yield f"Runs that are still missing: {missing}. This command goes on with them; rows that lack runs stand last."
    names = list(sweep.space)
    for run in runs[runs["status"] == "failed"].to_dict("records"):
        yield f"failed: {run['experiment']} ({describe({name: run[name] for name in names})}): {run['reason']}"
    if table["measured"].iloc[0]:
        best = sweep.settings(table[names].to_dict("records")[0])  # type: ignore[arg-type]
        yield f"best settings for linnet: {' '.join(f'--set {shlex.quote(each)}' for each in overrides(best))}"
        changes = dvc_changes(sweep.recipe_path, best)
        yield f"best settings for dvc exp run: {' '.join(f'-S {shlex.quote(change)}' for change in changes)}"


def write_plots(sweep: Sweep, study: optuna.Study, out: Path) -> list[str]:
    """Optuna's plots of the finished trials, as PNG images; their names."""
    from optuna.visualization import matplotlib as plots

    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 2:
        return []
    axes: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        axes["settings.png"] = plots.plot_slice(study, target_name=sweep.file.metric)
        axes["history.png"] = plots.plot_optimization_history(study, target_name=sweep.file.metric)
    for name, of_a_plot in axes.items():
        np.array(of_a_plot).flat[0].figure.savefig(out / name)
    return list(axes)


def write_results(sweep: Sweep, runs: pd.DataFrame, study: optuna.Study, out: Path) -> None:
    """table.md with Optuna's plots, table.csv and runs.csv."""
    table = tabulate_trials(sweep, runs)
    texts = for_people(sweep, table).to_markdown(index=False, disable_numparse=True)
    images = [f"![{name}]({name})" for name in write_plots(sweep, study, out)]
    title = f"# {sweep.name}: {sweep.file.metric} of {sweep.file.recipe}"
    write_text(out / "table.md", "\n\n".join([title, texts, *notes(sweep, runs, table), *images]) + "\n")
    write_text(out / "table.csv", table.to_csv(index=False))
    write_text(out / "runs.csv", runs[runs["status"] != "missing"].drop(columns=["trial", "score"]).to_csv(index=False))


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
    check_recipes(plan)
    if not (project / ".dvc").is_dir() or Path(linnet.__file__).resolve().parent != project / "src" / "linnet":
        raise SweepError(f"{project} is not the DVC project whose linnet runs here; run `make sweep` in its own folder")
    work.mkdir(parents=True, exist_ok=True)
    with folder_lock(work, what=out) as lock:
        if not dry_run:
            out.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{out.resolve()}/study.db" if out.exists() else None
        study = open_study(plan, storage, identity=plan.run(plan.combinations()[0], plan.file.seeds[0]).name)

        @functools.cache
        def open_workspace() -> Workspace:
            check_server(outlives_pods=False)
            return Workspace(project, work / "workspace", lock)

        measurer = Measurer(plan, study, known_outcomes(storage, experiment_names(project)), open_workspace)
        stopped = False
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
            log(f"{out}: look at {out / 'table.md'}; the runs: `dvc exp show`, one of them: `dvc exp apply NAME`")
            if (runs["status"] == "measured").all():
                shutil.rmtree(work / "workspace", ignore_errors=True)  # what matters is in the project
    if stopped:
        raise Stopped("stopped; finished runs are kept, a training that began keeps its checkpoint", signal.SIGINT)
    if len(runs) and (runs["status"] == "failed").any():
        raise typer.Exit(1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs begin with it ignored
        signal.signal(number, signal.default_int_handler)
    run_command(app, if_interrupted="stopped before anything ran")
