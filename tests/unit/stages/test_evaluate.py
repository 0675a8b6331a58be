"""evaluate's distances of samples that are longer than a reference example, against sums over their segments."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.inference.reference_sets import Sets
from linnet.metrics.audio_features import Embedding, log_mel
from linnet.metrics.vggish import PATCH_SAMPLES
from linnet.recipe import Features, Recipe
from linnet.stages.evaluate import _measure
from support.tiny import tiny_music_recipe

CPU = torch.device("cpu")
RATE, LENGTH = 8000, 240
Rows = NDArray[np.float64]  # [N, R, d]


def audio(count: int, samples: int, *, seed: int) -> NDArray[np.int16]:
    """Each of another loudness, so that segments of one are more alike than those of two."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, samples)) * rng.uniform(300, 6000, (count, 1))).astype(np.int16)


def four_sets(length: int, *, segments: int) -> Sets:
    """13 samples of some segments and a bit of one more."""
    model, untrained, noise = (audio(13, segments * length + 7, seed=n) for n in range(3))
    return Sets(model, untrained, noise, real=audio(13 * segments, length, seed=3))


def asking(features: Features, gate: str, *, rate: int) -> Recipe:
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


def check(metrics: dict[str, Any], names: tuple[str, str], real: Rows, of: dict[str, Rows]) -> None:
    for name, distance in zip(names, (frechet, kad), strict=True):
        generated = of["model"]
        assert metrics["scores"][name] == pytest.approx(distance(real, generated), rel=1e-6)
        for other, value in metrics["context"][name].items():
            assert value == pytest.approx(distance(real, of[other]), rel=1e-6)
        left_out = [distance(real, np.delete(generated, np.arange(group, 13, 10), axis=0)) for group in range(10)]
        half = 1.96 * math.sqrt(0.9 * sum((one - np.mean(left_out)) ** 2 for one in left_out))
        interval = metrics["intervals"][name]
        assert (interval["high"] - interval["low"]) / 2 == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize("segments", [1, 3])
def test_pieces_of_a_sample_are_compared_and_left_out_together(segments: int) -> None:
    reference, sets = audio(110, LENGTH, seed=9), four_sets(LENGTH, segments=segments)
    metrics = _measure(asking("log_mel", "frechet_log_mel", rate=RATE), sets, reference, CPU, None)

    def described(examples: NDArray[np.int16]) -> Rows:
        every = np.array(segments_of(examples, LENGTH)) / 32768.0
        return np.array([log_mel(torch.from_numpy(parts), RATE).numpy() for parts in every])

    of = {name: described(examples) for name, examples in vars(sets).items()}
    assert of["model"].shape == (13, segments, 96)
    check(metrics, ("frechet_log_mel", "kernel_log_mel"), described(reference), of)
    assert metrics["counts"] == {"reference": 110} | dict.fromkeys(vars(sets), 13 * segments)


class Loudness(nn.Module):
    """In VGGish's place: [B, samples] at 16 kHz -> [B, patches, 2]."""

    def forward(self, x: Tensor) -> Tensor:
        patches = x.unfold(1, PATCH_SAMPLES, PATCH_SAMPLES)
        return torch.stack([patches.square().mean(dim=2).sqrt(), patches.abs().amax(dim=2)], dim=2)


def test_fad_and_kad_pool_the_patches_of_all_pieces() -> None:
    """Reference audio of two patches, samples of two such segments: four rows of each."""
    length = 2 * PATCH_SAMPLES + 5
    reference, sets = audio(20, length, seed=9), four_sets(length, segments=2)
    network = Embedding(Loudness(), "vggish", "10086976" + "0" * 56)
    metrics = _measure(asking("vggish", "fad", rate=16_000), sets, reference, CPU, network)

    def described(examples: NDArray[np.int16]) -> Rows:
        every = np.array(segments_of(examples, length))[..., :-5].reshape(len(examples), -1, PATCH_SAMPLES) / 32768.0
        return np.stack([np.sqrt((every**2).mean(axis=-1)), np.abs(every).max(axis=-1)], axis=-1)

    of = {name: described(examples) for name, examples in vars(sets).items()}
    assert of["model"].shape == (13, 4, 2)
    check(metrics, ("fad", "kad"), described(reference), of)
