import itertools
import math
import re

import pytest

from linnet.recipe import GateSection
from linnet.registry.gate import Candidate, Decision, decide

GATE = GateSection(metric="frechet_thumbnail", max_ratio_to_noise=0.5, min_improvement=0.1, when_incomparable="promote")
LENIENT = GATE.model_copy(update={"max_ratio_to_noise": 0.9})


def candidate(
    score: float,
    *,
    noise: float = 2.0,
    real: float | None = 0.05,
    high: float | None = None,
    protocol: str = "p",
    reference: str = "r",
) -> Candidate:
    return Candidate(score, noise, protocol, reference, real, high)


@pytest.mark.parametrize(
    ("score", "champion", "promote", "words"),
    [
        (0.9, None, True, "there is no champion yet"),
        (1.0, None, True, "within 1"),  # the limit itself is good enough
        (1.1, None, False, "above 1, 0.5 of what pure noise has"),
        (float("nan"), None, False, "nan cannot be judged"),
        (-math.inf, None, False, "-inf cannot be judged"),
        (0.5, candidate(0.6), True, "beats the champion's 0.6"),
        (0.55, candidate(0.6), False, "does not get below 0.54"),  # 8 % better, the gate wants 10 %
        (0.6, candidate(0.6), False, "does not get below"),
        (0.0, candidate(0.0), False, "does not get below 0;"),
        # an unbiased estimate of 0 lies on either side of it, and is wrong by as much as it lies below
        (-0.23, candidate(-0.2), False, "cannot be told from the champion's -0.2: .* wrong by 0.23"),
        (-0.01, candidate(0.0), False, "cannot be told from the champion's 0"),
        (-0.01, candidate(0.005), False, "cannot be told from the champion's 0.005"),
        (0.01, candidate(-0.02), False, "cannot be told from the champion's -0.02"),
        (-0.01, candidate(0.02), True, "beats the champion's 0.02"),
        (0.5, candidate(-0.01), False, "does not get below"),
        (0.9, candidate(0.1, reference="other data"), True, "measured on other data"),
        (0.9, candidate(0.1, protocol="other"), True, "measured by another protocol"),
        (0.9, candidate(math.nan), True, "the champion has nan"),
        (0.9, candidate(math.inf), True, "the champion has inf"),
        (1.1, candidate(0.1, reference="other data"), False, "above"),
    ],
)
def test_gate(score: float, champion: Candidate | None, promote: bool, words: str) -> None:
    decision = decide(GATE, candidate(score), champion)
    assert decision == Decision(promote, decision.reason)
    assert re.search(words, decision.reason), decision.reason


@pytest.mark.parametrize(
    ("newcomer", "words"),
    [
        # one training step, six pictures to compare with
        (
            candidate(-0.006079, noise=-0.005492, real=-0.0126),
            r"cannot tell pure noise \(-0\.005492\) from real examples \(-0\.0126\) here",
        ),
        (candidate(-0.3, noise=-0.1, real=None), r"pure noise \(-0\.1\) from real examples here"),
        (candidate(0.0, noise=0.0, real=0.0), "cannot tell pure noise"),
        (candidate(60.0, noise=143.0, real=157.0), r"cannot tell pure noise \(143\) from real examples \(157\)"),
        (candidate(0.0001, noise=0.001, real=-0.002), "cannot tell pure noise"),
        (candidate(-0.002, noise=0.001, real=0.0), "no distance is below 0, so it is wrong by more than"),
        (
            candidate(0.0004, noise=0.001, real=0.0, high=0.0012),
            "may as well be noise: its 95 % interval ends at 0.0012",
        ),
        (candidate(0.0004, noise=0.001, real=0.0, high=math.nan), "interval ends at nan"),
        (candidate(1.0, noise=math.inf), "cannot be judged: pure noise has inf"),
        (candidate(1.0, noise=math.nan), "cannot be judged: pure noise has nan"),
        (candidate(0.1, real=math.nan), "real examples nan"),
        # halfway from real examples (-0.4) to noise (1) is 0.3, half of noise is 0.5
        (candidate(0.35, noise=1.0, real=-0.4), "above 0.3"),
    ],
)
def test_nothing_passes_by_a_sign(newcomer: Candidate, words: str) -> None:
    gate = GATE if newcomer.real_score == -0.4 else LENIENT
    decision = decide(gate, newcomer, None)
    assert not decision.promote
    assert re.search(words, decision.reason), decision.reason


VALUES = (-2.0, -0.5, -1e-6, 0.0, 1e-6, 0.3, 0.5, 2.0, 150.0)


def test_noise_itself_never_passes() -> None:
    """Whatever noise and real examples score, and by whatever fraction of noise up to all of it."""
    for noise, real, ratio in itertools.product(VALUES, (None, *VALUES), (1e-3, 0.5, 0.9, 1.0)):
        gate = GATE.model_copy(update={"max_ratio_to_noise": ratio})
        for high in (None, noise, noise + 1):
            assert not decide(gate, candidate(noise, noise=noise, real=real, high=high), None).promote


def test_no_rule_is_looser_than_the_ratio_or_than_half_the_way_to_noise() -> None:
    """Of all that passes: below half of noise, and better than noise by half of what real examples are better."""
    passed = 0
    for score, noise, real in itertools.product(VALUES, VALUES, VALUES):
        if decide(GATE, candidate(score, noise=noise, real=real), None).promote:
            passed += 1
            assert score <= 0.5 * noise
            assert noise - score >= 0.5 * (noise - real)
            assert noise > max(0.0, real)
    assert passed


def test_a_worse_score_never_passes_where_a_better_one_does_not() -> None:
    scores = sorted({*VALUES, 0.1, 0.9, 1.1})
    for noise, real in itertools.product((0.3, 2.0, 150.0), (0.0, 0.05)):
        passes = [
            decide(GATE, candidate(score, noise=noise, real=real), None).promote for score in scores if score >= 0
        ]
        assert passes == sorted(passes, reverse=True)


@pytest.mark.parametrize(
    ("noise", "score", "real", "high"),
    [
        (2.05, 0.1461, 0.093, 0.16),
        (3.474, 0.588, 0.11, 0.63),
        (52.4, 22.3, 19.5, 25.0),
        (32.5, 9.1, 10.0, 10.8),
        (9.41e-3, 1.2e-3, -2e-5, 1.5e-3),
    ],
)
def test_the_scores_of_the_lab_log_pass_as_they_did(noise: float, score: float, real: float, high: float) -> None:
    """With real examples worse than the model too, and kernel distances of real examples just below 0."""
    assert decide(GATE, candidate(score, noise=noise, real=real, high=high), None).promote
    earlier = candidate(score, noise=noise, real=None, high=None)  # a version that was registered earlier
    assert decide(GATE, earlier, None).promote


def test_a_ratio_above_one_lets_noise_through() -> None:
    """Who writes that asks for nothing but an order."""
    gate = GATE.model_copy(update={"max_ratio_to_noise": 1000.0})
    assert decide(gate, candidate(2.5, high=3.0), None).promote
    assert not decide(gate, candidate(-2.5, noise=-2.0, high=3.0), None).promote


@pytest.mark.parametrize("champion", [candidate(0.1, protocol="other"), candidate(0.1, reference="other data")])
def test_gate_may_keep_a_champion_that_does_not_compare(champion: Candidate) -> None:
    gate = GATE.model_copy(update={"when_incomparable": "keep"})
    decision = decide(gate, candidate(0.05), champion)
    assert not decision.promote
    assert "does not compare" in decision.reason
