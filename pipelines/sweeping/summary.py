"""What a few seeds say about settings: mean, spread, and how sure one can be of either."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.sweeping.outcome import Failed, Measured, Outcome
from pipelines.sweeping.points import Combination, Run


@dataclass(frozen=True)
class Summary:
    """Of n scores. One score has no spread, and nothing is made up for it."""

    count: int
    mean: float
    lowest: float
    highest: float
    deviation: float | None  # sample standard deviation, n - 1
    margin: float | None  # half of the 95 % interval of the mean, by Student's t


@dataclass(frozen=True)
class Row:
    """One combination: its runs, and what they sum up to."""

    combination: Combination
    measured: tuple[Measured, ...]
    failed: tuple[Failed, ...]
    missing: int  # runs that were not started yet
    summary: Summary | None
    behind: Summary | None  # score minus the best row's score, seed by seed

    @property
    def lacking(self) -> bool:
        """Whether some of its seeds have no score."""
        return bool(self.failed or self.missing)


def summarise(scores: Sequence[float]) -> Summary:
    """At least one score."""
    count, mean = len(scores), statistics.fmean(scores)
    deviation = statistics.stdev(scores) if count > 1 else None
    margin = None if deviation is None else student_t(count - 1) * deviation / math.sqrt(count)
    return Summary(count, mean, min(scores), max(scores), deviation, margin)


def student_t(freedom: int, level: float = 0.95) -> float:
    """The t with P(|T| <= t) = level for `freedom` degrees of freedom.

    Abramowitz & Stegun (1964), 26.7.3 and 26.7.4: a finite sum in the angle
    arctan(t / sqrt(freedom)), solved by halving.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _inside(angle: float, freedom: int) -> float:
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, freedom, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def rows(groups: Sequence[Sequence[Run]], outcomes: Sequence[Outcome]) -> list[Row]:
    """One row a combination, the best mean first; those that lack runs after all others: their mean may be luck.

    Args:
        groups: of each combination, its runs of all seeds. An outcome is theirs if its run has the name of one of them:
            whoever proposes settings may come to the same recipe in two ways.
    """
    made = []
    for runs in groups:
        names = {run.name for run in runs}
        mine = [outcome for outcome in outcomes if outcome.run.name in names]
        measured = tuple(outcome for outcome in mine if isinstance(outcome, Measured))
        failed = tuple(outcome for outcome in mine if isinstance(outcome, Failed))
        summary = summarise([outcome.score for outcome in measured]) if measured else None
        made.append(Row(runs[0].combination, measured, failed, len(runs) - len(mine), summary, None))
    made.sort(key=lambda row: (row.lacking, math.inf if row.summary is None else row.summary.mean))
    return [_compared(row, made[0]) for row in made]


def _compared(row: Row, best: Row) -> Row:
    if row is best:
        return row
    at_best = {outcome.run.seed: outcome.score for outcome in best.measured}
    pairs = [outcome.score - at_best[outcome.run.seed] for outcome in row.measured if outcome.run.seed in at_best]
    behind = summarise(pairs) if pairs else None
    return replace(row, behind=behind)


def is_told_apart(row: Row) -> bool:
    """Whether the seeds show that the row is worse than the best: its 95 % interval of the difference is above 0."""
    behind = row.behind
    return behind is not None and behind.margin is not None and behind.mean - behind.margin > 0
