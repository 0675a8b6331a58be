"""evaluate's distances of samples that are longer than a reference example, against sums over their segments."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.inference.reference_sets import ReferenceSets
from linnet.metrics.extractors.build import build_extractor
from linnet.metrics.extractors.log_mel import log_mel
from linnet.metrics.extractors.vggish import PATCH_SAMPLES, VGGishFeatures
from linnet.metrics.extractors.weights import Weights
from linnet.metrics.measurement import Measurement
from linnet.recipe import Features, Recipe
from linnet.stages.evaluate import measure_samples
from support.tiny import tiny_music_recipe

CPU = torch.device("cpu")
RATE, LENGTH = 8000, 240
Rows = NDArray[np.float64]  # [N, R, d]


def audio(count: int, samples: int, *, seed: int) -> NDArray[np.int16]:
    """Each of another loudness, so that segments of one are more alike than those of two."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, samples)) * rng.uniform(300, 6000, (count, 1))).astype(np.int16)


def example_sets(count: int, length: int, *, segments: int) -> ReferenceSets:
    """13 samples of some segments and a bit of one more, and as many reference examples as `count`."""
    model, untrained, noise = (audio(13, segments * length + 7, seed=n) for n in range(3))
    reference, real = audio(count, length, seed=9), audio(13 * segments, length, seed=3)
    return ReferenceSets(reference, model, untrained, noise, real)


def recipe_with(features: Features, gate: str, *, rate: int) -> Recipe:
    changed = tiny_music_recipe().model_dump(by_alias=True)
    changed["data"]["sample_rate_hz"] = rate
    changed["restore"]["degradations"] = []
    changed["evaluate"]["features"] = [features]
    changed["register"]["gate"]["metric"] = gate
    return Recipe.model_validate(changed)


def segments_of(examples: NDArray[np.int16], length: int) -> list[list[NDArray[np.int16]]]:
    """By sample."""
    return [[one[start : start + length] for start in range(0, len(one) - length + 1, length)] for one in examples]


def frechet(real: Rows, generated: Rows) -> float:
    """With S = A^T A the trace of (S_1 S_2)^(1/2) is the nuclear norm of A_1 A_2^T: no root of a singular matrix."""
    a, b = (rows.reshape(-1, rows.shape[-1]) for rows in (real, generated))
    centred_a, centred_b = ((x - x.mean(axis=0)) / math.sqrt(len(x) - 1) for x in (a, b))
    cross = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    squares = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + (centred_a**2).sum() + (centred_b**2).sum()
    return float(squares - 2 * cross)


def kad(real: Rows, generated: Rows) -> float:
    """100 times the squared MMD; within a set only over pairs of rows of different audio."""
    rows = real.reshape(-1, real.shape[-1])
    apart = sorted(math.dist(rows[i], rows[j]) for i in range(len(rows)) for j in range(i))
    square = apart[(len(apart) - 1) // 2] ** 2

    def mean(a: Rows, b: Rows, *, same: bool) -> float:
        places = [(i, j) for i, j in product(range(len(a)), range(len(b))) if not (same and i == j)]
        squares = np.array([((a[i][:, None] - b[j]) ** 2).sum(axis=-1) for i, j in places])
        return float(np.exp(-squares / 2 / square).mean())

    return 100 * (
        mean(real, real, same=True) + mean(generated, generated, same=True) - 2 * mean(real, generated, same=False)
    )


def check(measured: list[Measurement], names: tuple[str, str], of: dict[str, Rows]) -> None:
    assert tuple(measurement.name for measurement in measured) == names
    real, generated = of.pop("reference"), of["model"]
    for measurement, distance in zip(measured, (frechet, kad), strict=True):
        assert measurement.score == pytest.approx(distance(real, generated), rel=1e-6)
        for other, value in vars(measurement.context).items():
            assert value == pytest.approx(distance(real, of[other]), rel=1e-6)
        left_out = [distance(real, np.delete(generated, np.arange(group, 13, 10), axis=0)) for group in range(10)]
        half = 1.96 * math.sqrt(0.9 * sum((one - np.mean(left_out)) ** 2 for one in left_out))
        interval = measurement.interval
        assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize("segments", [1, 3])
def test_segments_of_a_sample_are_compared_and_left_out_together(segments: int) -> None:
    sets = example_sets(110, LENGTH, segments=segments)
    recipe = recipe_with("log_mel", "frechet_log_mel", rate=RATE)
    measured = measure_samples(recipe, [build_extractor("log_mel", recipe.data, None, CPU)], sets)

    def described(examples: NDArray[np.int16]) -> Rows:
        waveforms = np.array(segments_of(examples, LENGTH)) / 32768.0
        return np.array([log_mel(torch.from_numpy(rows), RATE).numpy() for rows in waveforms])

    of = {name: described(examples) for name, examples in vars(sets).items()}
    assert of["model"].shape == (13, segments, 96)
    check(measured, ("frechet_log_mel", "kernel_log_mel"), of)
    shapes = {name: cut.shape for name, cut in sets.segments(recipe.data).items()}
    assert shapes.pop("reference") == (110, 1, LENGTH)
    assert shapes.pop("real") == (13 * segments, 1, LENGTH)
    assert set(shapes.values()) == {(13, segments, LENGTH)}


class Loudness(nn.Module):
    """In VGGish's place: [B, samples] at 16 kHz -> [B, patches, 2]."""

    def forward(self, x: Tensor) -> Tensor:
        patches = x.unfold(1, PATCH_SAMPLES, PATCH_SAMPLES)
        return torch.stack([patches.square().mean(dim=2).sqrt(), patches.abs().amax(dim=2)], dim=2)


class LoudnessFeatures(VGGishFeatures):
    @staticmethod
    def load(path: Path) -> nn.Module:
        return Loudness()


def test_fad_and_kad_pool_the_patches_of_all_segments() -> None:
    """Reference audio of two patches, samples of two such segments: four rows of each."""
    length = 2 * PATCH_SAMPLES + 5
    sets, recipe = example_sets(20, length, segments=2), recipe_with("vggish", "fad", rate=16_000)
    weights = Weights(Path("vggish.pth"), "10086976" + "0" * 56, is_published=True)
    measured = measure_samples(recipe, [LoudnessFeatures(recipe.data, weights, CPU)], sets)

    def described(examples: NDArray[np.int16]) -> Rows:
        cut = np.array(segments_of(examples, length))[..., :-5].reshape(len(examples), -1, PATCH_SAMPLES) / 32768.0
        return np.stack([np.sqrt((cut**2).mean(axis=-1)), np.abs(cut).max(axis=-1)], axis=-1)

    of = {name: described(examples) for name, examples in vars(sets).items()}
    assert of["model"].shape == (13, 4, 2)
    check(measured, ("fad", "kad"), of)
