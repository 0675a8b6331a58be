"""The page of a sweep: one image of all runs, and the table."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

import linnet.reports.html
from pipelines.sweeping.summary import Row, Summary
from pipelines.sweeping.sweep_file import Sweep
from pipelines.sweeping.table import NUMBERS, best_settings, cells, failures, notes

LABEL, WIDTH, LINE, TOP = 300, 420, 26, 26  # of the image, in its own units
LOG_FROM = 10.0  # scores that differ by more than this factor are drawn on a logarithmic axis

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader([Path(__file__).parent, Path(linnet.reports.html.__file__).parent]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(sweep: Sweep, rows: Sequence[Row]) -> str:
    """Self-contained HTML."""
    return _TEMPLATES.get_template("page.html").render(
        title=f"{sweep.name}: {sweep.metric}",
        lead=f"{len(rows)} settings of the recipe {sweep.recipe}, seeds {', '.join(map(str, sweep.seeds))}.",
        image=image(rows),
        varied=sweep.varied,
        numbers=NUMBERS,
        rows=[{"labels": row.combination.labels.values(), "cells": cells(row)} for row in rows],
        notes=list(notes(sweep, rows)),
        failures=failures(rows),
        best=best_settings(sweep, rows),
    )


def image(rows: Sequence[Row]) -> Markup:
    """A line for each row: a dot for each run, a bar for the mean, a thin line for its 95 % interval."""
    scored = [(row, row.summary) for row in rows if row.summary is not None]
    scores = [outcome.score for row, _ in scored for outcome in row.measured]
    if not scores:
        return Markup("")
    low, high = min(scores), max(scores)
    logarithmic = low > 0 and high / low > LOG_FROM
    margin = 0.0 if logarithmic else (high - low or abs(high) or 1.0) * 0.1
    ends = (low / 1.2, high * 1.2) if logarithmic else (low - margin, high + margin)

    def place(score: float) -> float:
        first, last, here = map(math.log, (*ends, score)) if logarithmic else (*ends, score)
        return LABEL + WIDTH * (here - first) / (last - first)

    height = TOP + LINE * len(scored)
    parts = []
    for tick in (low, math.sqrt(low * high) if logarithmic else (low + high) / 2, high):
        x = place(tick)
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height}"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{tick:.3g}</text>')
    for number, (row, summary) in enumerate(scored):
        parts += _line(row, summary, TOP + LINE * number + LINE / 2, place, ends)
    axis = "; logarithmic axis" if logarithmic else ""
    return Markup(  # noqa: S704 - made of numbers; the labels in it are escaped
        f"<figure><figcaption>A dot is a run, the bar their mean, the line its 95 % interval, cut off where it leaves "
        f'the image{axis}.</figcaption><svg class="wide" viewBox="0 0 {LABEL + WIDTH + 20} {height + 8}" role="img" '
        f'aria-label="scores of all runs">{"".join(parts)}</svg></figure>'
    )


def _line(
    row: Row, summary: Summary, y: float, place: Callable[[float], float], ends: tuple[float, float]
) -> list[str]:
    label = ", ".join(row.combination.labels.values())
    parts = [f'<text x="{LABEL - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(label[:44])}</text>']
    if summary.margin is not None:
        left, right = (
            place(min(max(end, ends[0]), ends[1]))
            for end in (summary.mean - summary.margin, summary.mean + summary.margin)
        )
        parts.append(f'<line class="interval" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    x = place(summary.mean)
    parts.append(f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 7:.1f}" y2="{y + 7:.1f}"/>')
    for outcome in row.measured:
        title = escape(f"{outcome.run.name}: {outcome.score:.4g}")
        parts.append(f'<circle cx="{place(outcome.score):.1f}" cy="{y:.1f}" r="3.5"><title>{title}</title></circle>')
    return parts
