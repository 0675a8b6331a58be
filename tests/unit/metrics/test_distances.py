"""Distances against direct computations in float64 and against Gaussians whose distance is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.metrics.distances import FrechetDistance, KernelDistance, build_distances, jackknife
from linnet.metrics.extractors.base import FeatureExtractor
from linnet.recipe import EvaluateSection, Features, GateSection, Recipe
from linnet.registry.gate import Candidate, decide
from support.extractors import PUBLISHED, stand_in
from support.tiny import tiny_music_recipe, tiny_recipe

Array = NDArray[np.float64]
SECTION = EvaluateSection(
    features=("thumbnail",), reference_split="test", kernel_subsets=3, kernel_subset_size=20, seed=0
)

frechet_distance = FrechetDistance("frechet")


def kernel_distance(real: Tensor, generated: Tensor, *, subsets: int, subset_size: int, seed: int) -> float:
    return KernelDistance("kernel", subsets, subset_size, seed)(real, generated)


def features(count: int, dims: int, seed: int) -> Tensor:
    """Correlated, shifted and of uneven scale."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dims, dims)) / math.sqrt(dims)
    return torch.from_numpy(rng.standard_normal((count, dims)) @ mixing + rng.standard_normal(dims))


def whitened(count: int, dims: int, seed: int) -> Tensor:
    """Exactly mean 0 and covariance I (with the N - 1 of the unbiased estimate)."""
    x = np.random.default_rng(seed).standard_normal((count, dims))
    orthonormal, _ = np.linalg.qr(x - x.mean(axis=0))
    return torch.from_numpy(orthonormal * math.sqrt(count - 1))


@pytest.mark.parametrize(("count", "other", "dims"), [(200, 150, 8), (500, 501, 32), (3000, 40, 5)])
def test_frechet_is_heusels_formula(count: int, other: int, dims: int) -> None:
    real, generated = features(count, dims, 0), features(other, dims, 1)
    a, b = real.numpy(), generated.numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("count", "other", "dims"), [(20, 30, 64), (10, 200, 64), (30, 20, 300)])
def test_frechet_with_fewer_images_than_features(count: int, other: int, dims: int) -> None:
    """With S = A^T A the trace of (S_1 S_2)^(1/2) is the nuclear norm of A_1 A_2^T: no root of a singular matrix."""
    real, generated = features(count, dims, 0), features(other, dims, 1)
    a, b = real.numpy(), generated.numpy()
    centred_a = (a - a.mean(axis=0)) / math.sqrt(count - 1)
    centred_b = (b - b.mean(axis=0)) / math.sqrt(other - 1)
    cross = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + (centred_a**2).sum() + (centred_b**2).sum() - 2 * cross
    assert frechet_distance(real, generated) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_two_known_gaussians() -> None:
    """N(m_1, diag s_1^2) and N(m_2, diag s_2^2): |m_1 - m_2|^2 + |s_1 - s_2|^2."""
    scale, other = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([0.5, 2.0, 5.0]).double()
    shift = torch.tensor([1.0, -2.0, 0.0]).double()
    distance = frechet_distance(whitened(50, 3, 0) * scale, whitened(70, 3, 1) * other + shift)
    assert distance == pytest.approx((1 + 4) + (0.25 + 0 + 4), rel=1e-9)


def test_frechet_does_not_see_a_rotation_of_both_and_is_symmetric() -> None:
    real, generated = features(100, 6, 0), features(90, 6, 1)
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))[0])
    distance = frechet_distance(real, generated)
    assert distance > 0.1
    assert frechet_distance(real @ turn, generated @ turn) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(generated, real) == pytest.approx(distance, rel=1e-9)


def test_frechet_of_identical_sets_is_zero_even_in_float32() -> None:
    real = features(100, 16, 0)
    assert frechet_distance(real, real[torch.randperm(100)]) == pytest.approx(0, abs=1e-9)
    single = real.float() + 100
    assert frechet_distance(single, single) == pytest.approx(0, abs=1e-6)


def test_frechet_pools_the_rows_of_all_examples() -> None:
    real, generated = features(60, 5, 0), features(24, 5, 1)
    distance = frechet_distance(real.reshape(20, 3, 5), generated.reshape(12, 2, 5))
    assert distance == frechet_distance(real, generated)


def direct_mmd(x: Array, y: Array) -> float:
    """The unbiased estimate of squared MMD (Gretton et al. 2012, eq. 3), summed as it is written."""

    def kernel(a: Array, b: Array) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    within = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    other = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within + other - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n)


@pytest.mark.parametrize("subsets", [1, 3])
def test_kernel_distance_of_whole_sets_is_the_unbiased_mmd(subsets: int) -> None:
    """A subset as large as the set is the set, in whatever order."""
    real, generated = features(25, 7, 0), features(25, 7, 1)
    expected = direct_mmd(real.numpy(), generated.numpy())
    for seed in (0, 1):
        found = kernel_distance(real, generated, subsets=subsets, subset_size=25, seed=seed)
        assert found == pytest.approx(expected, rel=1e-10)
    assert kernel_distance(real, generated, subsets=1, subset_size=1000, seed=0) == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_of_subsets_is_seeded_and_near_the_whole() -> None:
    real, generated = features(60, 7, 0), features(50, 7, 1)

    def distance(seed: int) -> float:
        return kernel_distance(real, generated, subsets=20, subset_size=30, seed=seed)

    assert distance(0) == distance(0)
    assert distance(0) != distance(1)
    whole = direct_mmd(real.numpy(), generated.numpy())
    assert distance(0) == pytest.approx(whole, rel=0.2)


def test_kernel_distance_is_unbiased() -> None:
    """Of sets from one distribution it scatters around zero, below as well as above."""
    rng = np.random.default_rng(0)
    pairs = [torch.from_numpy(rng.standard_normal((2, 40, 3))) for _ in range(40)]
    values = [kernel_distance(*pair, subsets=4, subset_size=20, seed=0) for pair in pairs]
    assert 10 < sum(value < 0 for value in values) < 35
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(len(values))


def test_kernel_distance_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    kernel_distance(features(20, 3, 0), features(20, 3, 1), subsets=2, subset_size=10, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [10, 97, 300])
def test_jackknife_of_the_mean_is_the_direct_computation(count: int) -> None:
    values = np.random.default_rng(0).standard_normal(count)

    def mean(values: Tensor) -> float:
        return float(values.mean())

    value = float(values.mean())
    interval = jackknife(mean, value, torch.from_numpy(values))
    left_out = [np.delete(values, np.arange(group, count, 10)).mean() for group in range(10)]
    variance = 0.9 * sum((one - np.mean(left_out)) ** 2 for one in left_out)
    assert interval.low == pytest.approx(value - 1.96 * math.sqrt(variance), rel=1e-12)
    assert interval.high == pytest.approx(value + 1.96 * math.sqrt(variance), rel=1e-12)


def test_jackknife_leaves_out_whole_examples() -> None:
    """Four rows of each of 25: as of the 25 means, however much the rows of one differ."""
    rows = np.random.default_rng(0).standard_normal((25, 4)) + np.arange(4)

    def mean(values: Tensor) -> float:
        return float(values.mean())

    interval = jackknife(mean, 0.0, torch.from_numpy(rows)[..., None])
    left_out = [np.delete(rows.mean(axis=1), np.arange(group, 25, 10)).mean() for group in range(10)]
    half = 1.96 * math.sqrt(0.9 * sum((one - np.mean(left_out)) ** 2 for one in left_out))
    assert (interval.low, interval.high) == pytest.approx((-half, half), rel=1e-12)


def test_jackknife_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    mean: Callable[[Tensor], float] = lambda part: float(part.mean())  # noqa: E731
    samples = torch.from_numpy(np.random.default_rng(1).standard_normal((400, 200)))
    intervals = [jackknife(mean, mean(sample), sample) for sample in samples]
    covered = np.mean([interval.low < 0 < interval.high for interval in intervals])
    assert 0.88 < covered < 0.97  # ten groups make it a little short: 92 % by Student's t


# --- names and protocols ----------------------------------------------------------------------------------------------


def names(extractor: FeatureExtractor) -> tuple[str, ...]:
    return tuple(distance.name for distance in build_distances(extractor, SECTION))


def gated(features: Features, metric: str) -> Recipe:
    recipe = tiny_recipe() if features == "inception" else tiny_music_recipe()
    changed = recipe.model_dump(by_alias=True)
    changed["evaluate"]["features"] = [features]
    changed["register"]["gate"]["metric"] = metric
    return Recipe.model_validate(changed)


@pytest.mark.parametrize("features", ["inception", "vggish", "scripted"])
def test_a_gate_can_ask_for_what_evaluate_will_compute(features: Features) -> None:
    """With published weights and with others, whose hash nobody can know when the recipe is written."""
    starts = ["deadbeef", PUBLISHED[features]] if features in PUBLISHED else ["deadbeef"]
    for start in starts:
        for name in names(stand_in(features, start)):
            assert gated(features, name).register_.gate.metric == name


def test_only_published_weights_have_the_published_names() -> None:
    assert names(stand_in("inception", "6726825d")) == ("fid", "kid")
    assert names(stand_in("inception", "deadbeef")) == ("frechet_inception", "kernel_inception")
    assert names(stand_in("vggish", "10086976")) == ("fad", "kad")
    assert names(stand_in("vggish", "deadbeef")) == ("frechet_vggish", "kernel_vggish")
    assert names(stand_in("scripted", "10086976")) == ("frechet_scripted", "kernel_scripted")
    assert names(stand_in("thumbnail", "6726825d")) == ("frechet_thumbnail", "kernel_thumbnail")


@pytest.mark.parametrize("features", ["inception", "vggish", "scripted"])
def test_distances_of_other_weights_do_not_compare(features: Features) -> None:
    """Their names are the same, their protocols are not: the gate keeps the champion."""
    ours, theirs = (stand_in(features, start).protocol for start in ("deadbeef", "0badcafe"))
    assert "deadbeef" in ours
    assert theirs == ours.replace("deadbeef", "0badcafe")
    gate = GateSection(
        metric=f"frechet_{features}", max_ratio_to_noise=0.5, min_improvement=0.1, when_incomparable="keep"
    )
    decision = decide(gate, Candidate(0.1, 2.0, ours, "r", 0.0, 0.2), Candidate(0.9, 2.0, theirs, "r", 0.0, 1.0))
    assert not decision.promote
    assert "measured by another protocol" in decision.reason
    assert decide(gate, Candidate(0.1, 2.0, ours, "r", 0.0, 0.2), Candidate(0.9, 2.0, ours, "r", 0.0, 1.0)).promote


def test_protocols_say_what_decides_a_kernel_distance() -> None:
    _, of_images = build_distances(stand_in("thumbnail", ""), SECTION)
    _, of_audio = build_distances(stand_in("log_mel", ""), SECTION)
    real, generated = features(50, 4, 0)[:, None], features(12, 4, 1)[:, None]
    assert of_images.protocol(real, generated) == "3 subsets of 12"
    assert of_images.protocol(real, real) == "3 subsets of 20"
    assert of_audio.protocol(real, generated).startswith("100 x unbiased squared MMD")
    assert frechet_distance.protocol(real, generated) == ""
