"""The rows of a sweep as people and programs read them: on the console, in Markdown and in CSV."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from pipelines.sweeping import points
from pipelines.sweeping.outcome import Failed, Measured, Outcome
from pipelines.sweeping.summary import Row, Summary, is_told_apart
from pipelines.sweeping.sweep_file import Sweep

NUMBERS = ("mean ± deviation", "95 % of the mean", "lowest to highest", "behind the best", "seeds")
WIDTH = 130  # of the printed table where no terminal says


def cells(row: Row) -> list[str]:
    """What stands under NUMBERS."""
    asked = len(row.measured) + len(row.failed) + row.missing
    seeds = f"{len(row.measured)} of {asked}" if asked > len(row.measured) else str(asked)
    if row.summary is None:
        return ["", "", "", "", seeds]
    summary = row.summary
    spread = " (one run: no spread)" if summary.deviation is None else f" ± {summary.deviation:.2g}"
    return [
        f"{summary.mean:.4g}{spread}",
        "" if summary.margin is None else f"{summary.mean - summary.margin:.4g} to {summary.mean + summary.margin:.4g}",
        f"{summary.lowest:.4g} to {summary.highest:.4g}" if summary.count > 1 else "",
        "" if row.behind is None else _difference(row.behind),
        seeds,
    ]


def _difference(behind: Summary) -> str:
    return f"{behind.mean:+.2g}" + ("" if behind.margin is None else f" ± {behind.margin:.2g}")


def short_names(names: Sequence[str]) -> list[str]:
    """`train.learning_rate` as `learning_rate`, where that is clear."""
    last = [name.rpartition(".")[2] for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def notes(sweep: Sweep, rows: Sequence[Row]) -> Iterator[str]:
    """What has to be known to read the table."""
    yield (
        f"{sweep.metric}: lower is better. ± is the standard deviation over seeds; intervals are 95 % by Student's t, "
        "those of the distance behind the best (±) from differences seed by seed."
    )
    scored = [row for row in rows if row.summary is not None]
    if len(scored) > 1:
        others, apart = len(scored) - 1, sum(map(is_told_apart, scored))
        rest = "" if apart == others else "; for the rest these seeds do not say"
        yield (
            f"Worse than the best with 95 % confidence: {apart} of {others}{rest}. The best of several is also the "
            "luckiest, which no interval here takes into account."
        )
    if len({outcome.reference for row in scored for outcome in row.measured}) > 1:
        yield (
            "The rows were measured in different ways or against different images, so their scores do not compare; "
            "runs.csv has what pure noise scores the same way."
        )
    if any(row.lacking for row in rows):
        yield "Rows that lack runs stand last, whatever their mean."
    if missing := sum(row.missing for row in rows):
        yield f"Runs that are still missing: {missing}. The same command goes on with them."


def best_settings(sweep: Sweep, rows: Sequence[Row]) -> dict[str, str]:
    """The settings of the best row as arguments to copy, by the command that takes them; none without a score."""
    return points.arguments(sweep, rows[0].combination) if rows and rows[0].summary is not None else {}


def failures(rows: Sequence[Row]) -> list[Failed]:
    """All runs that ended without a score."""
    return [failed for row in rows for failed in row.failed]


def show(sweep: Sweep, rows: Sequence[Row]) -> None:
    """Print the table, and after it what it does not say."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    table = Table(title=f"{sweep.name}: {sweep.metric} of {sweep.recipe}")
    for name in short_names(sweep.varied):
        table.add_column(name)
    for name in NUMBERS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row.combination.labels.values(), *cells(row))
    console.print(table)
    plain = Console(highlight=False, markup=False, soft_wrap=True)
    for note in notes(sweep, rows):
        plain.print(note)
    for failed in failures(rows):
        plain.print(f"failed: {failed.run.name} ({failed.run.combination}): {failed.reason}")
    for command, arguments in best_settings(sweep, rows).items():
        plain.print(f"best settings for {command}: {arguments}")


def markdown(sweep: Sweep, rows: Sequence[Row]) -> str:
    """The table and its notes."""
    lines = [f"# {sweep.name}: {sweep.metric} of {sweep.recipe}", ""]
    heads = [*(f"`{name}`" for name in sweep.varied), *NUMBERS]
    lines += [_line(heads), _line(["---"] * len(sweep.varied) + ["---:"] * len(NUMBERS))]
    lines += [_line([*row.combination.labels.values(), *cells(row)]) for row in rows]
    lines += ["", *(f"{note}\n" for note in notes(sweep, rows))]
    if failed := failures(rows):
        lines += ["Failed:", ""]
        lines += [*(f"- `{each.run.name}` ({each.run.combination}): {each.reason}" for each in failed), ""]
    lines += [f"Best settings for {command}: `{text}`\n" for command, text in best_settings(sweep, rows).items()]
    return "\n".join(lines).rstrip() + "\n"


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", r"\|") for value in values) + " |"


def table_csv(sweep: Sweep, rows: Sequence[Row]) -> str:
    """One line a combination, numbers in full."""
    numbers = ("mean", "deviation", "low_95", "high_95", "lowest", "highest", "behind_best", "behind_best_margin_95")
    lines: list[list[object]] = [[*sweep.varied, "measured", "failed", "missing", *numbers]]
    for row in rows:
        counts = [len(row.measured), len(row.failed), row.missing]
        lines.append([*row.combination.exact(), *counts, *_numbers(row)])
    return _csv(lines)


def _numbers(row: Row) -> list[object]:
    if row.summary is None:
        return [None] * 8
    mean, margin = row.summary.mean, row.summary.margin
    interval = (None, None) if margin is None else (mean - margin, mean + margin)
    behind = (None, None) if row.behind is None else (row.behind.mean, row.behind.margin)
    return [mean, row.summary.deviation, *interval, row.summary.lowest, row.summary.highest, *behind]


def runs_csv(sweep: Sweep, rows: Sequence[Row]) -> str:
    """One line a run, with all its scores."""
    outcomes: list[Outcome] = []
    for row in rows:
        outcomes += [*row.measured, *row.failed]
    scores = list(dict.fromkeys(name for each in outcomes if isinstance(each, Measured) for name in each.scores))
    lines: list[list[object]] = [
        ["experiment", *sweep.varied, "seed", "status", *scores, f"{sweep.metric}_of_noise", "measured_by", "reason"]
    ]
    for outcome in outcomes:
        run = outcome.run
        start: list[object] = [run.name, *run.combination.exact(), run.seed]
        match outcome:
            case Measured():
                values = [outcome.scores[name] for name in scores]
                lines.append([*start, "measured", *values, outcome.noise_score, outcome.reference, ""])
            case Failed():
                lines.append([*start, "failed", *[None] * (len(scores) + 2), outcome.reason])
    return _csv(lines)


def _csv(lines: list[list[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
