"""The gate: whether a version becomes champion. Pure functions, without a registry.

All distances are estimates of something that is never below 0. One that lies below it is wrong by at least as much as
it lies below; so it is no better than 0, and no difference that is smaller than that error counts.
"""

import math
from dataclasses import dataclass

from linnet.metrics.results import tells_noise
from linnet.recipe import GateSection


@dataclass(frozen=True)
class Candidate:
    """What the gate knows of a version: its score, what to read it by, how it was measured, and on which data."""

    score: float
    noise_score: float
    protocol: str
    reference_hash: str
    real_score: float | None  # None: registered before linnet wrote it down
    score_high: float | None  # upper end of the score's 95 % interval; None: as above


@dataclass(frozen=True)
class Decision:
    """Whether the version becomes champion, and why, in words for people."""

    promote: bool
    reason: str


def decide(gate: GateSection, candidate: Candidate, champion: Candidate | None) -> Decision:
    """The gate: beat noise by the recipe's ratio, then beat the champion, if the two scores can be compared."""
    limit = _limit(gate, candidate)
    if fault := _fault(gate, candidate, limit):
        return Decision(False, fault)
    score = f"{gate.metric} = {candidate.score:.4g}"
    if champion is None:
        return Decision(True, f"{score} is within {limit:.4g}, and there is no champion yet")
    if difference := _why_incomparable(candidate, champion):
        if gate.when_incomparable == "promote":
            return Decision(True, f"{score} is within {limit:.4g}; the champion {difference}")
        return Decision(False, f"{score} does not compare: the champion {difference}; set its alias by hand to move it")
    return _against_champion(gate, candidate, champion)


def _limit(gate: GateSection, candidate: Candidate) -> float:
    """The largest score that is enough better than noise.

    That is `max_ratio_to_noise` of noise's own score, and of the way from real examples to noise (nearer where real
    examples lie below 0).
    """
    ratio, noise, real = gate.max_ratio_to_noise, candidate.noise_score, candidate.real_score
    limit = ratio * noise
    return limit if real is None else min(limit, noise - (1 - ratio) * (noise - real))


def _fault(gate: GateSection, candidate: Candidate, limit: float) -> str:
    """Why the score is no better than noise by as much as the recipe asks for; "" where it is."""
    score, noise = f"{gate.metric} = {candidate.score:.4g}", candidate.noise_score
    real = 0.0 if candidate.real_score is None else candidate.real_score
    if not all(map(math.isfinite, (candidate.score, noise, real))):
        return f"{score} cannot be judged: pure noise has {noise:.4g}, real examples {real:.4g}"
    if not tells_noise(noise=noise, real=real):
        measured = "" if candidate.real_score is None else f" ({real:.4g})"
        return (
            f"{score} says nothing: this distance cannot tell pure noise ({noise:.4g}) from real examples{measured} "
            "here. Hold out more examples, or let [register.gate] ask for another metric"
        )
    if candidate.score > limit:
        return f"{score} is above {limit:.4g}, {gate.max_ratio_to_noise:g} of what pure noise has"
    if -candidate.score >= noise:
        return f"{score} says nothing: no distance is below 0, so it is wrong by more than pure noise's {noise:.4g}"
    high = candidate.score if candidate.score_high is None else candidate.score_high
    if gate.max_ratio_to_noise <= 1 and not high < noise:  # above 1 the recipe lets noise through
        return f"{score} may as well be noise: its 95 % interval ends at {high:.4g}, and pure noise has {noise:.4g}"
    return ""


def _why_incomparable(candidate: Candidate, champion: Candidate) -> str:
    """What of the champion's measurement is different, "" where nothing is."""
    if champion.reference_hash != candidate.reference_hash:
        return "was measured on other data"
    if champion.protocol != candidate.protocol:
        return "was measured by another protocol"
    return "" if math.isfinite(champion.score) else f"has {champion.score}"


def _against_champion(gate: GateSection, candidate: Candidate, champion: Candidate) -> Decision:
    score, other = f"{gate.metric} = {candidate.score:.4g}", f"the champion's {champion.score:.4g}"
    error = max(0.0, -candidate.score, -champion.score)
    if error >= abs(max(0.0, candidate.score) - max(0.0, champion.score)) and error > 0:
        return Decision(
            False,
            f"{score} cannot be told from {other}: no distance is below 0, so they are wrong by {error:.4g} or more; "
            "set its alias by hand to move it",
        )
    threshold = (1 - gate.min_improvement) * champion.score
    if max(0.0, candidate.score) < threshold:
        return Decision(True, f"{score} beats {other}")
    return Decision(False, f"{score} does not get below {threshold:.4g}; the champion has {champion.score:.4g}")
