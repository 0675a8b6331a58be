"""The gate: whether a version becomes champion. Pure functions, without a registry."""

from dataclasses import dataclass

from linnet.recipe import GateSection


@dataclass(frozen=True)
class Candidate:
    """What the gate knows of a version: its score, how it was measured, and on which data."""

    score: float
    noise_score: float
    protocol: str
    reference_hash: str


@dataclass(frozen=True)
class Decision:
    """Whether the version becomes champion, and why, in words for people."""

    promote: bool
    reason: str


def decide(gate: GateSection, candidate: Candidate, champion: Candidate | None) -> Decision:
    """The gate: beat noise by the recipe's ratio, then beat the champion, if the two scores can be compared."""
    limit = gate.max_ratio_to_noise * candidate.noise_score
    score = f"{gate.metric} = {candidate.score:.4g}"
    if not candidate.score <= limit:  # a NaN fails too
        return Decision(False, f"{score} is above {limit:.4g}, {gate.max_ratio_to_noise:g} of what pure noise has")
    if champion is None:
        return Decision(True, f"{score} is within {limit:.4g}, and there is no champion yet")
    if (champion.reference_hash, champion.protocol) != (candidate.reference_hash, candidate.protocol):
        difference = "on other data" if champion.reference_hash != candidate.reference_hash else "by another protocol"
        if gate.when_incomparable == "promote":
            return Decision(True, f"{score} is within {limit:.4g}; the champion was measured {difference}")
        return Decision(
            False,
            f"{score} does not compare: the champion was measured {difference}; set its alias by hand to move it",
        )
    threshold = champion.score - gate.min_improvement * abs(champion.score)  # kernel distances may lie below 0
    if candidate.score < threshold:
        return Decision(True, f"{score} beats the champion's {champion.score:.4g}")
    return Decision(False, f"{score} does not get below {threshold:.4g}; the champion has {champion.score:.4g}")
