"""`python -m pipelines.schedule`: recurring runs on a cluster, kept as a file says.

KFP cannot change a recurring run, so a changed entry means a new one in its place. The order (create the new one
disabled, disable the old one, enable the new one, delete the old one) never has two enabled at once, keeps the old one
if the server refuses the new one, and can end anywhere: the next call starts from what it finds.
A recurring run that was disabled is never enabled again: KFP would at once make up for the last time it missed.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import kfp.client
import typer
from pydantic import AfterValidator, Field, PositiveInt
from rich.console import Console
from rich.table import Table

from linnet.cli import run_command
from linnet.progress import log
from linnet.recipe import Section
from linnet.recipe.load import RecipeError, read_toml
from linnet.tasks.request import split_overrides
from pipelines import connection as to
from pipelines.clusters.profile import DEFAULT_PROFILE
from pipelines.submit import read_recipe, run_arguments

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

MARKER = "linnet-schedule"  # what the description of a recurring run begins with
ENABLED = "ENABLE"
CONCURRENCY, NO_CATCHUP = 1, True
Action = Literal["created", "replaced", "unchanged", "disabled", "enabled"]


class ScheduleError(RecipeError):
    """The schedule file cannot be used; treated like a mistake in a recipe."""


def _has_six_fields(cron: str) -> str:
    """The server checks the rest. It would also take five fields, and read the minute as a second."""
    if not re.fullmatch(r"\d+( \S+){5}", cron):
        raise ValueError(
            f"cron = '{cron}': KFP's cron has six fields, and the first is one second, such as 0; Sundays at 3 are "
            "'0 0 3 * * 0'"
        )
    return cron


class Entry(Section):
    """One [[schedule]] of the file. No defaults, as in recipes."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    recipe: str
    overrides: str
    source: str
    cron: Annotated[str, AfterValidator(_has_six_fields)]
    num_nodes: PositiveInt
    only_if_changed: bool
    enabled: bool


class ScheduleFile(Section):
    """The whole file."""

    schedule: tuple[Entry, ...] = Field(strict=False)  # TOML has lists


@dataclass(frozen=True)
class ScheduledRun:
    """An entry with the parameters of its runs."""

    entry: Entry
    arguments: Mapping[str, str | int | bool]

    def description(self, package: str) -> str:
        """Marks a recurring run as this entry's, by a hash of everything that its runs depend on."""
        content = [self.entry.cron, dict(self.arguments), package, CONCURRENCY, NO_CATCHUP]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{MARKER} {self.entry.name} {digest}"


@dataclass(frozen=True)
class Change:
    """What to do for one name; identifiers are of recurring runs."""

    name: str
    action: Action
    cron: str
    create: ScheduledRun | None = None
    description: str = ""
    disable: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()


def read_schedule(path: Path) -> list[ScheduledRun]:
    """All entries of `path`, checked with their recipes. Raises RecipeError."""
    hint = "give the schedule with --file"
    entries = read_toml(path, ScheduleFile, error=ScheduleError, hint=hint, what="schedule").schedule
    names = [entry.name for entry in entries]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ScheduleError(f"{path}: the name '{repeated[0]}' is given twice; names tell recurring runs apart")
    return [_with_arguments(entry) for entry in entries]


def _with_arguments(entry: Entry) -> ScheduledRun:
    _, text = read_recipe(entry.recipe, split_overrides(entry.overrides))
    arguments = run_arguments(text, entry.overrides, entry.source, entry.num_nodes, entry.only_if_changed)
    return ScheduledRun(entry, arguments)


@app.command()
def schedule(
    file: Annotated[Path, typer.Option(help="What should run, and when.")] = Path("pipelines/schedule.toml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
    image: to.Image = "",
    cluster: to.ClusterProfile = DEFAULT_PROFILE,
    host: to.Host = "",
    namespace: to.Namespace = "",
    experiment: to.Experiment = "linnet",
    token_env: to.TokenEnv = to.TOKEN_VARIABLE,
) -> None:
    """Bring the recurring runs of an experiment in line with a schedule file; repeated, it changes nothing.

    The token comes from the environment variable KFP_TOKEN, never from the command line. One experiment belongs to one
    schedule file. Recurring runs that this command did not make are never touched.
    """
    scheduled = read_schedule(file)
    connection = to.read_connection(host, namespace, experiment, token_env)
    with contextlib.ExitStack() as stack:
        any_enabled = any(each.entry.enabled for each in scheduled)
        package = stack.enter_context(to.compiled(image, cluster)) if any_enabled else None
        client = stack.enter_context(to.connected(connection))
        here = find_experiment(client, experiment)
        found = find_recurring_runs(client)
        text = package.read_text(encoding="utf-8") if package else ""
        changes = plan(scheduled, [run for run in found if run.experiment_id == here], text)
        done = []
        try:
            for change in changes:
                if not dry_run:
                    apply(client, change, experiment, package)
                done.append(change)
        finally:
            _print(done, "would be" if dry_run else "action")
        _mention_others([run for run in found if run.experiment_id != here])


def _print(changes: Sequence[Change], title: str) -> None:
    table = Table("name", title, "cron")
    for change in changes:
        table.add_row(change.name, change.action, change.cron)
    Console(soft_wrap=True).print(table)


def _mention_others(runs: Sequence[Any]) -> None:
    """Recurring runs left enabled in an experiment that was used before would otherwise train unnoticed."""
    if names := sorted(run.display_name for run in runs if is_ours(run) and run.mode == ENABLED):
        log(f"linnet: also enabled, in other experiments of this namespace: {', '.join(names)}")


def plan(scheduled: Sequence[ScheduledRun], found: Sequence[Any], package: str) -> list[Change]:
    """What brings `found` (recurring runs of the experiment, whosever) in line with `scheduled`; changes nothing."""
    ours: dict[str, list[Any]] = {}
    for run in found:
        if is_ours(run):
            ours.setdefault(run.display_name, []).append(run)
    changes = [_change(each, ours.pop(each.entry.name, []), package) for each in scheduled]
    return changes + [_disable(name, runs[0].trigger.cron_schedule.cron, runs) for name, runs in ours.items()]


def is_ours(run: Any) -> bool:
    """Whether this command made it. A copy made by hand in the UI has another name, and is left alone."""
    return bool(re.fullmatch(rf"{MARKER} {re.escape(run.display_name or '')} [0-9a-f]{{64}}", run.description or ""))


def _change(scheduled: ScheduledRun, runs: Sequence[Any], package: str) -> Change:
    entry, description = scheduled.entry, scheduled.description(package)
    if not entry.enabled:
        return _disable(entry.name, entry.cron, runs)
    kept = next((run for run in runs if run.mode == ENABLED and run.description == description), None)
    rest = [run for run in runs if run is not kept]
    enabled = tuple(run.recurring_run_id for run in rest if run.mode == ENABLED)
    everything = tuple(run.recurring_run_id for run in rest)
    if kept is not None:
        return Change(entry.name, "replaced" if rest else "unchanged", entry.cron, None, "", enabled, everything)
    action: Action = "replaced" if enabled else "enabled" if runs else "created"
    return Change(entry.name, action, entry.cron, scheduled, description, enabled, everything)


def _disable(name: str, cron: str, runs: Sequence[Any]) -> Change:
    enabled = tuple(run.recurring_run_id for run in runs if run.mode == ENABLED)
    return Change(name, "disabled" if enabled else "unchanged", cron, disable=enabled)


def apply(client: kfp.client.Client, change: Change, experiment: str, package: Path | None) -> None:
    """Make the change, in the order that the docstring of this module explains."""
    new = None
    if change.create is not None:
        with to.without_kfps_links():
            experiment_id = client.create_experiment(experiment).experiment_id
        new = client.create_recurring_run(
            experiment_id=experiment_id,
            job_name=change.name,
            description=change.description,
            cron_expression=change.cron,
            max_concurrency=CONCURRENCY,
            no_catchup=NO_CATCHUP,
            params=dict(change.create.arguments),
            pipeline_package_path=str(package),
            enabled=False,
        )
    for identifier in change.disable:
        client.disable_recurring_run(identifier)
    if new is not None:
        client.enable_recurring_run(new.recurring_run_id)
    for identifier in change.delete:
        client.delete_recurring_run(identifier)


def find_experiment(client: kfp.client.Client, name: str) -> str | None:
    """Its identifier; None where it does not exist yet. Raises ClusterError."""
    try:
        identifier: str = client.get_experiment(experiment_name=name).experiment_id
    except ValueError as reason:  # kfp's, which only its words distinguish
        if "No experiment is found" in str(reason):
            return None
        raise to.ClusterError(f"experiment {name}: {reason}; choose another with --experiment") from None
    return identifier


def find_recurring_runs(client: kfp.client.Client) -> list[Any]:
    """All recurring runs of the namespace, whosever they are."""
    found: list[Any] = []
    token, namespace = "", client.get_user_namespace() or None
    while True:
        page = client.list_recurring_runs(page_token=token, page_size=100, namespace=namespace)
        found += page.recurring_runs or []
        token = page.next_page_token
        if not token:
            return found


if __name__ == "__main__":
    run_command(app)
