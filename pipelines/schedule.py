"""`python -m pipelines.schedule`: recurring runs on a cluster, kept as a file says.

KFP cannot change a recurring run, so a changed entry means a new one in its place. The order (create the new one
switched off, switch the old one off, switch the new one on, delete the old one) never has two at work at once, keeps
the old one if the server refuses the new one, and can end anywhere: the next call starts from what it finds.
A recurring run that was off is never switched on again: KFP would at once make up for the last time it missed.
"""

import contextlib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import kfp.client
import typer
from pydantic import AfterValidator, Field, PositiveInt, ValidationError
from rich.console import Console
from rich.table import Table

from linnet.errors import LinnetError
from linnet.progress import log
from linnet.recipe import Section
from linnet.recipe.load import RecipeError, load_recipe
from pipelines import connection as to
from pipelines.submit import recipe_text, run_arguments

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

MARKER = "linnet-schedule"
AT_WORK = "ENABLE"
CONCURRENCY, NO_CATCHUP = 1, True
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
CRON_FIELDS = (  # name, lowest, highest, names from the lowest on
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, DAYS),
)


class ScheduleError(RecipeError):
    """The schedule file cannot be used; treated like a mistake in a recipe."""


def check_cron(text: str) -> str:
    """`text`, if it is what KFP's cron (github.com/robfig/cron) understands, with all six fields."""
    values = text.split()
    if len(values) != len(CRON_FIELDS):
        raise ValueError(f"has {len(values)} fields, KFP's cron has six, seconds first; Sundays at 3 are '0 0 3 * * 0'")
    for (name, low, high, names), value in zip(CRON_FIELDS, values, strict=True):
        if not all(_is_cron_range(part, low, high, names) for part in value.split(",")):
            raise ValueError(f"{name} '{value}': give *, a number from {low} to {high}, a range, a list or a step")
    if not values[0].isdecimal():
        raise ValueError(f"second '{values[0]}' starts several runs a minute: give one number, such as 0")
    return text


def _is_cron_range(part: str, low: int, high: int, names: Sequence[str]) -> bool:
    match = re.fullmatch(r"([*?]|\w+)(?:-(\w+))?(?:/0*[1-9]\d*)?", part, re.ASCII)
    if match is None:
        return False
    first, last = match.groups()
    if first in "*?":
        return last is None
    numbers = [
        low + names.index(end.lower()) if end.lower() in names else int(end) if end.isdecimal() else -1
        for end in (first, last or first)
    ]
    return low <= numbers[0] <= numbers[1] <= high


class Entry(Section):
    """One [[schedule]] of the file. No defaults, as in recipes."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    recipe: str
    source: str
    cron: Annotated[str, AfterValidator(check_cron)]
    num_nodes: PositiveInt
    sample_tasks: PositiveInt
    only_if_changed: bool
    enabled: bool


class ScheduleFile(Section):
    """The whole file."""

    schedule: tuple[Entry, ...] = Field(strict=False)  # TOML has lists


@dataclass(frozen=True)
class Wanted:
    """An entry with all that its runs are made of."""

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
    action: Literal["created", "replaced", "unchanged", "disabled", "enabled"]
    cron: str
    create: Wanted | None = None
    description: str = ""
    disable: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()


def read_schedule(path: Path) -> list[Wanted]:
    """All entries of `path`, checked with their recipes. Raises RecipeError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = ScheduleFile.model_validate(values).schedule
    except OSError as reason:
        raise ScheduleError(f"{path}: cannot be read ({reason.strerror}); give the schedule with --file") from None
    except ValidationError as error:
        raise ScheduleError("\n".join(f"{path}: {line}" for line in _explain(error, values))) from None
    except ValueError as reason:
        raise ScheduleError(f"{path}: is not valid TOML: {reason}") from None
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScheduleError(f"{path}: the name '{twice[0]}' is given twice; names tell recurring runs apart")
    return [_wanted(entry) for entry in entries]


def _wanted(entry: Entry) -> Wanted:
    path = Path(entry.recipe)
    text = recipe_text(path, load_recipe(path), changed=False)
    return Wanted(entry, run_arguments(text, entry.source, entry.num_nodes, entry.sample_tasks, entry.only_if_changed))


def _explain(error: ValidationError, values: dict[str, Any]) -> Iterator[str]:
    for detail in error.errors():
        match detail["loc"]:
            case (_, int(index), key, *_):
                entry = values["schedule"][index]
                place = f"[[schedule]] {entry.get('name', index + 1)}: {key}"
            case location:
                place = ".".join(str(part) for part in location)
        match detail["type"]:
            case "missing":
                yield f"{place} is missing; add it (a schedule has no defaults)"
            case "extra_forbidden":
                yield f"{place} is unknown; valid keys: {', '.join(Entry.model_fields)}"
            case "value_error":
                yield f"{place} = {detail['input']!r}: {detail['ctx']['error']}"
            case _:
                yield f"{place} = {detail['input']!r}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


@app.command()
def schedule(
    file: Annotated[Path, typer.Option(help="What should run, and when.")] = Path("pipelines/schedule.toml"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
    image: to.Image = "",
    host: to.Host = "",
    namespace: to.Namespace = "",
    experiment: to.Experiment = "linnet",
    token_env: to.TokenEnv = to.TOKEN_VARIABLE,
) -> None:
    """Bring the recurring runs of an experiment in line with a schedule file; repeated, it changes nothing.

    The token comes from the environment variable KFP_TOKEN, never from the command line. One experiment belongs to one
    schedule file. Recurring runs that this command did not make are never touched.
    """
    wanted = read_schedule(file)
    connection = to.read_connection(host, namespace, experiment, token_env)
    with contextlib.ExitStack() as stack:
        needed = any(each.entry.enabled for each in wanted)
        package = stack.enter_context(to.compiled(image)) if needed else None
        client = stack.enter_context(to.connected(connection))
        here = find_experiment(client, experiment)
        found = find_recurring_runs(client)
        text = package.read_text(encoding="utf-8") if package else ""
        changes = plan(wanted, [run for run in found if run.experiment_id == here], text)
        done = []
        try:
            for change in changes:
                if not dry_run:
                    apply(client, change, experiment, package)
                done.append(change)
        finally:
            _show(done, "would be" if dry_run else "action")
        _mention_others([run for run in found if run.experiment_id != here])


def _show(changes: Sequence[Change], title: str) -> None:
    table = Table("name", title, "cron")
    for change in changes:
        table.add_row(change.name, change.action, change.cron)
    Console(soft_wrap=True).print(table)


def _mention_others(runs: Sequence[Any]) -> None:
    """Schedules left at work in an experiment that was used before would otherwise train unnoticed."""
    if names := sorted(run.display_name for run in runs if is_ours(run) and run.mode == AT_WORK):
        log(f"linnet: also at work, in other experiments of this namespace: {', '.join(names)}")


def plan(wanted: Sequence[Wanted], found: Sequence[Any], package: str) -> list[Change]:
    """What brings `found` (recurring runs of the experiment, whosever) in line with `wanted`; changes nothing."""
    ours: dict[str, list[Any]] = {}
    for run in found:
        if is_ours(run):
            ours.setdefault(run.display_name, []).append(run)
    changes = [_change(each, ours.pop(each.entry.name, []), package) for each in wanted]
    return changes + [_switch_off(name, runs[0].trigger.cron_schedule.cron, runs) for name, runs in ours.items()]


def is_ours(run: Any) -> bool:
    """Whether this command made it. A copy made by hand in the UI has another name, and is left alone."""
    return bool(re.fullmatch(rf"{MARKER} {re.escape(run.display_name or '')} [0-9a-f]{{64}}", run.description or ""))


def _change(wanted: Wanted, runs: Sequence[Any], package: str) -> Change:
    entry, description = wanted.entry, wanted.description(package)
    if not entry.enabled:
        return _switch_off(entry.name, entry.cron, runs)
    working = [run for run in runs if run.mode == AT_WORK]
    kept = next((run for run in working if run.description == description), None)
    if kept is not None:
        rest = [run for run in runs if run is not kept]
        stopped = tuple(run.recurring_run_id for run in rest if run.mode == AT_WORK)
        gone = tuple(run.recurring_run_id for run in rest)
        return Change(entry.name, "replaced" if rest else "unchanged", entry.cron, disable=stopped, delete=gone)
    return Change(
        entry.name,
        "replaced" if working else "enabled" if runs else "created",
        entry.cron,
        create=wanted,
        description=description,
        disable=tuple(run.recurring_run_id for run in working),
        delete=tuple(run.recurring_run_id for run in runs),
    )


def _switch_off(name: str, cron: str, runs: Sequence[Any]) -> Change:
    working = tuple(run.recurring_run_id for run in runs if run.mode == AT_WORK)
    return Change(name, "disabled" if working else "unchanged", cron, disable=working)


def apply(client: kfp.client.Client, change: Change, experiment: str, package: Path | None) -> None:
    """Do it, in the order that this page's first lines explain."""
    new = None
    if change.create is not None:
        with to.quiet():
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
    except LinnetError:
        raise
    except ValueError as reason:  # kfp's, told apart by its words only
        if "No experiment is found" in str(reason):
            return None
        raise to.ClusterError(f"experiment {name}: {reason}; choose another with --experiment") from None
    return identifier


def find_recurring_runs(client: kfp.client.Client) -> list[Any]:
    """All recurring runs of the namespace, whosever they are."""
    found: list[Any] = []
    token = ""
    while True:
        page = client.list_recurring_runs(
            page_token=token, page_size=100, namespace=client.get_user_namespace() or None
        )
        found += page.recurring_runs or []
        token = page.next_page_token
        if not token:
            return found


if __name__ == "__main__":
    to.run_command(app)
