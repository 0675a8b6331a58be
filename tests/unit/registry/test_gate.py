import pytest

from linnet.recipe import GateSection
from linnet.registry.gate import Candidate, Decision, decide

GATE = GateSection(metric="frechet_thumbnail", max_ratio_to_noise=0.5, min_improvement=0.1, when_incomparable="promote")


def candidate(score: float, *, noise: float = 2.0, protocol: str = "p", reference: str = "r") -> Candidate:
    return Candidate(score, noise, protocol, reference)


@pytest.mark.parametrize(
    ("score", "champion", "promote", "words"),
    [
        (0.9, None, True, "there is no champion yet"),
        (1.0, None, True, "within 1"),  # the limit itself is good enough
        (1.1, None, False, "above 1, 0.5 of what pure noise has"),
        (float("nan"), None, False, "nan is above"),
        (0.5, candidate(0.6), True, "beats the champion's 0.6"),
        (0.55, candidate(0.6), False, "does not get below 0.54"),  # 8 % better, the gate wants 10 %
        (0.6, candidate(0.6), False, "does not get below"),
        (-0.19, candidate(-0.2), False, "does not get below -0.22"),  # an unbiased estimate of 0 lies on either side
        (-0.21, candidate(-0.2), False, "does not get below -0.22"),
        (-0.23, candidate(-0.2), True, "beats the champion's -0.2"),
        (-0.01, candidate(0.0), True, "beats the champion's 0"),
        (0.9, candidate(0.1, reference="other data"), True, "measured on other data"),
        (0.9, candidate(0.1, protocol="other"), True, "measured by another protocol"),
        (1.1, candidate(0.1, reference="other data"), False, "above"),
    ],
)
def test_gate(score: float, champion: Candidate | None, promote: bool, words: str) -> None:
    decision = decide(GATE, candidate(score), champion)
    assert decision == Decision(promote, decision.reason)
    assert words in decision.reason


@pytest.mark.parametrize("champion", [candidate(0.1, protocol="other"), candidate(0.1, reference="other data")])
def test_gate_may_keep_a_champion_that_does_not_compare(champion: Candidate) -> None:
    gate = GATE.model_copy(update={"when_incomparable": "keep"})
    decision = decide(gate, candidate(0.05), champion)
    assert not decision.promote
    assert "does not compare" in decision.reason
