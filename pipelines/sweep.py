"""`python -m pipelines.sweep SWEEP`: one recipe with many settings and several seeds, as DVC experiments, in one table.

Optuna chooses the settings: all combinations of a grid, or its tree-structured Parzen estimator (Bergstra et al. 2011).
One choice of settings is a trial, whose value is the mean score over the seeds; a trial with one seed is a run. A run's
name is a digest of all that decides its result, so a run whose name has a score already is not repeated. Runs end with
`evaluate`: a sweep registers nothing and moves no champion.
"""

import contextlib
import functools
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import optuna
import typer
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy.pool import NullPool

import linnet
from linnet.artifacts import Report
from linnet.cli import run_command
from linnet.errors import Stopped, redact_credentials
from linnet.files import folder_lock
from linnet.progress import ProgressBar, log
from linnet.recipe.load import load_recipe
from linnet.tasks.environment import weights_by_absolute_path
from linnet.tracking.client import check_server
from pipelines.sweep_file import (
    Params,
    Run,
    SearchSection,
    Sweep,
    SweepError,
    check_recipes,
    describe,
    digest,
    dvc_changes,
    read_sweep,
)
from pipelines.sweep_table import STATUSES, Outcome, for_people, notes, tabulate_runs, tabulate_trials, write_results

BUILD, WORK = Path("build/sweeps"), Path(".work/sweeps")
TRACKED = ("src", "recipes", "dvc.yaml", "params.yaml", "versions.toml", "data.dvc")  # what an experiment is made of
DVC = (sys.executable, "-m", "dvc")
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_PYTHON_REFRESH": "quiet", "DVC_EXP_AUTO_PUSH": "false"}
STOPPING_SECONDS = 120.0  # for a checkpoint to be written

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


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
