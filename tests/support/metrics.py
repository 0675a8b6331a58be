"""A metrics.json as evaluate would have written it."""

from collections.abc import Mapping

from linnet.metrics.results import Comparison, Context, Interval, Memorization, Metrics, Reference


def metrics_of(
    scores: Mapping[str, float], *, restoration: Mapping[str, dict[str, Comparison]] | None = None
) -> Metrics:
    """With these scores; all else is made up."""
    return Metrics(
        scores=dict(scores),
        intervals={name: Interval(low=score - 0.5, high=score + 0.5) for name, score in scores.items()},
        context={name: Context(untrained=3.0, noise=4.0, real=0.25) for name in scores},
        protocols=dict.fromkeys(scores, "p"),
        counts={"reference": 4, "model": 4, "untrained": 4, "noise": 4, "real": 4},
        restoration=dict(restoration or {}),
        memorization=Memorization(sample_median=1.0, real_median=2.0),
        reference=Reference(split="test", count=4, data_hash="d", raw_hash="r", code_hash="c"),
    )
