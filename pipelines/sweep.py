"""`python -m pipelines.sweep SWEEP`: one recipe with many settings and several seeds, as DVC experiments, in one table.

Nothing of a sweep's state is kept apart: the name of an experiment is a digest of all that decides its result, so a run
is done if an experiment of its name exists. Runs end with `evaluate`: a sweep registers nothing and moves no champion.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, assert_never

import typer

from linnet.errors import LinnetError, Stopped, explain
from linnet.files import new_folder
from linnet.progress import ProgressBar, log
from linnet.recipe.load import RecipeError
from linnet.tracking.client import check_server
from pipelines.sweeping import page, points, search, summary, table
from pipelines.sweeping.points import Combination, Namer, Run
from pipelines.sweeping.project import Project
from pipelines.sweeping.running import Runner
from pipelines.sweeping.sweep_file import Grid, Search, Sweep, SweepError, read_sweep
from pipelines.sweeping.workspace import Workspace, alone

BUILD, WORK, DATA = Path("build/sweeps"), Path(".work/sweeps"), Path("data")
FAILED = 1  # the exit status where a run has no score
INTERRUPTED = 130  # the exit status after Ctrl-C


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep, such as sweeps/birds-demo.toml.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what is done already; run nothing.")
    ] = False,
) -> None:
    """Run what is missing of a sweep, and print its table; repeated after a stop it goes on.

    Exit status 1 if a run failed: the table names it, and a repeat runs it again.
    """
    plan = read_sweep(file)
    project, namer, folder = Project(Path.cwd()), Namer(plan, DATA), WORK / plan.name
    check(plan, namer)
    project.check_all_is_tracked()
    with alone(folder) as lock:

        def open_workspace() -> Workspace:
            check_server(outlives_pods=False)  # it also makes the local store, which short runs leave half made
            project.save_data()
            return Workspace(project, folder / "workspace", lock)

        runner = Runner(project, plan.metric, folder / "logs", open_workspace)
        stopped = False
        try:
            if not dry_run:
                _run_all(plan, namer, runner)
        except KeyboardInterrupt:
            stopped = True
        rows = _rows(plan, namer, runner)
        table.show(plan, rows)
        if not dry_run:
            _write(plan, rows)
            if not any(row.lacking for row in rows):
                runner.close()
    if stopped:
        raise Stopped("stopped; finished runs are kept, a training that began keeps its checkpoint", signal.SIGINT)
    if table.failures(rows):
        raise typer.Exit(FAILED)


def check(plan: Sweep, namer: Namer) -> None:
    """All that can be wrong with a sweep and its recipe before anything runs. Raises RecipeError."""
    if not points.recipe_path(plan).is_file():
        names = ", ".join(sorted(path.stem for path in Path("recipes").glob("*.toml"))) or "none here"
        raise SweepError(f"{plan.path}: recipe = '{plan.recipe}' is not in recipes/; there are {names}")
    if isinstance(plan.method, Search):
        search.require_optuna()
    combinations = points.all_combinations(plan)
    points.check(plan, combinations)
    points.check_distinct(namer.run(combination, plan.seeds[0]) for combination in combinations)


def _run_all(plan: Sweep, namer: Namer, runner: Runner) -> None:
    total = len(plan.seeds) * _count(plan)
    match plan.method:
        case Grid():
            # the first seed of all settings before the second of any: a sweep that is stopped has seen everything once
            combinations = points.all_combinations(plan)
            runs = [namer.run(combination, seed) for seed in plan.seeds for combination in combinations]
            runner.recall(runs)
            log(f"{plan.name}: {total} runs, {len(runner.outcomes)} of them done already")
            with ProgressBar("sweep: runs", total, done=len(runner.outcomes)) as bar:
                runner.measure(runs, bar)
        case Search():
            with ProgressBar("sweep: runs", total) as bar:

                def score(combination: Combination) -> float | None:
                    runs = _seeds(plan, namer, combination)
                    (row,) = summary.rows([runs], runner.measure(runs, bar))
                    return row.summary.mean if row.summary and not row.failed else None

                search.run(plan, plan.method, database=_database(plan), identity=_identity(plan, namer), score=score)
        case _:
            assert_never(plan.method)


def _seeds(plan: Sweep, namer: Namer, combination: Combination) -> list[Run]:
    return [namer.run(combination, seed) for seed in plan.seeds]


def _count(plan: Sweep) -> int:
    return plan.method.trials if isinstance(plan.method, Search) else len(points.all_combinations(plan))


def _database(plan: Sweep) -> Path:
    return WORK / plan.name / "study.db"


def _rows(plan: Sweep, namer: Namer, runner: Runner) -> list[summary.Row]:
    match plan.method:
        case Grid():
            combinations = points.all_combinations(plan)
        case Search():
            proposed = search.known(plan, plan.method, database=_database(plan), identity=_identity(plan, namer))
            combinations = list({str(each.settings): each for each in proposed}.values())
        case _:
            assert_never(plan.method)
    groups = [_seeds(plan, namer, combination) for combination in combinations]
    groups = list({runs[0].name: runs for runs in groups}.values())  # settings of one recipe are one row
    runner.recall([run for runs in groups for run in runs])
    return summary.rows(groups, list(runner.outcomes.values()))


def _identity(plan: Sweep, namer: Namer) -> str:
    """Of recipe, data and code: the name of one run has it all."""
    return namer.run(points.all_combinations(plan)[0], plan.seeds[0]).name


def _write(plan: Sweep, rows: Sequence[summary.Row]) -> None:
    out = BUILD / plan.name
    with new_folder(out) as folder:
        for name, text in {
            "table.md": table.markdown(plan, rows),
            "table.csv": table.table_csv(plan, rows),
            "runs.csv": table.runs_csv(plan, rows),
            "report.html": page.page(plan, rows),
        }.items():
            (folder / name).write_text(text, encoding="utf-8")
    log(f"{out}: look at {out / 'report.html'}; the runs: `dvc exp show`, one of them: `dvc exp apply NAME`")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """One sentence for mistakes, as the command line does."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs begin with it ignored
        signal.signal(number, _interrupt)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(sweep)
    try:
        app()
    except SystemExit as done:  # typer's way out
        if done.code == INTERRUPTED:
            log("linnet: stopped before anything ran")
        raise
    except (LinnetError, OSError, Stopped) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        for line in sentence.splitlines():
            log(f"linnet: {line}")
        sys.exit(INTERRUPTED if isinstance(error, Stopped) else 2 if isinstance(error, RecipeError) else 1)


if __name__ == "__main__":
    main()
