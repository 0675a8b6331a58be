"""What became of a run: its scores, or why it has none."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.sweeping.points import Run


@dataclass(frozen=True)
class Measured:
    """A finished run: what evaluate wrote."""

    run: Run
    score: float  # of the sweep's metric
    noise_score: float  # of pure noise, by the same protocol
    scores: Mapping[str, float]
    reference: str  # how and against which images the score was measured: others do not compare


@dataclass(frozen=True)
class Failed:
    """A run that ended without a usable score."""

    run: Run
    reason: str


Outcome = Measured | Failed


def read_metrics(run: Run, metric: str, text: str) -> Outcome:
    """The outcome that a metrics.json tells of."""
    metrics = json.loads(text)
    scores = metrics["scores"]
    if metric not in scores:
        return Failed(run, f"metrics.json has no {metric}, only {', '.join(scores)}")
    if not math.isfinite(scores[metric]):
        return Failed(run, f"{metric} is {scores[metric]}")
    reference = f"{metrics['protocols'][metric]}, data {metrics['reference']['data_hash'][:8]}"
    return Measured(run, scores[metric], metrics["context"][metric]["noise"], scores, reference)
