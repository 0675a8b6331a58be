"""The kernel audio distance against a plain double loop and the closed form between Gaussians."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.metrics import distances
from linnet.metrics.distances import KernelAudioDistance

Array = NDArray[np.float64]

kernel_audio_distance = KernelAudioDistance("kernel")


def gaussian(count: int, dims: int, *, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dims)) * scale + shift)


def direct(x: Array, y: Array) -> float:
    """100 times Gretton et al. 2012, eq. 3, summed as it is written; the bandwidth is the lower median of x's pairs."""
    pairs = sorted(math.dist(x[i], x[j]) for i in range(len(x)) for j in range(i))
    bandwidth = pairs[(len(pairs) - 1) // 2]

    def kernel(a: Array, b: Array) -> float:
        return math.exp(-(math.dist(a, b) ** 2) / (2 * bandwidth**2))

    m, n = len(x), len(y)
    within = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    other = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return 100 * (within + other - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n))


@pytest.mark.parametrize(("count", "other", "dims"), [(20, 13, 7), (11, 30, 1), (2, 2, 3)])
def test_it_is_the_double_loop(count: int, other: int, dims: int) -> None:
    real, generated = gaussian(count, dims, seed=0), gaussian(other, dims, seed=1, scale=0.7, shift=0.4)
    expected = direct(real.numpy(), generated.numpy())
    assert kernel_audio_distance(real, generated) == pytest.approx(expected, rel=1e-10, abs=1e-10)
    single = kernel_audio_distance(real.float(), generated.float())
    assert single == kernel_audio_distance(real.float().double(), generated.float().double())


def direct_of_examples(x: Array, y: Array) -> float:
    """The same of x [N, R, d] and y [M, S, d], where pairs are of different examples; b is of all rows of x."""
    rows = x.reshape(-1, x.shape[-1])
    pairs = sorted(math.dist(rows[i], rows[j]) for i in range(len(rows)) for j in range(i))
    bandwidth = pairs[(len(pairs) - 1) // 2]

    def mean(a: Array, b: Array, *, apart: bool) -> float:
        values = [
            math.exp(-(math.dist(one, other) ** 2) / (2 * bandwidth**2))
            for i, ones in enumerate(a)
            for j, others in enumerate(b)
            if not (apart and i == j)
            for one in ones
            for other in others
        ]
        return sum(values) / len(values)

    return 100 * (mean(x, x, apart=True) + mean(y, y, apart=True) - 2 * mean(x, y, apart=False))


def of_examples(count: int, rows: int, *, seed: int, spread: float) -> Tensor:
    """[count, rows, 3] of variance 1, where rows of one example scatter by `spread` around its centre."""
    centres, own = gaussian(count, 3, seed=seed), gaussian(count * rows, 3, seed=seed + 1).reshape(count, rows, 3)
    return centres[:, None] * math.sqrt(1 - spread**2) + own * spread


@pytest.mark.parametrize(("rows", "others"), [(1, 4), (3, 1), (3, 2)])
def test_pairs_of_rows_of_one_example_are_left_out(rows: int, others: int) -> None:
    real = of_examples(7, rows, seed=0, spread=0.3)
    generated = of_examples(5, others, seed=2, spread=0.5) * 0.8
    expected = direct_of_examples(real.numpy(), generated.numpy())
    assert kernel_audio_distance(real, generated) == pytest.approx(expected, rel=1e-10)
    assert kernel_audio_distance(real[:, 0], generated[:, 0]) == pytest.approx(
        direct(real[:, 0].numpy(), generated[:, 0].numpy()), rel=1e-10
    )


def test_rows_of_one_example_may_be_alike_and_it_is_still_unbiased() -> None:
    values = [
        kernel_audio_distance(
            of_examples(20, 3, seed=4 * n, spread=0.2), of_examples(15, 4, seed=4 * n + 2, spread=0.2)
        )
        for n in range(60)
    ]
    assert abs(np.mean(values)) < 2 * np.std(values) / math.sqrt(len(values))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = gaussian(25, 4, seed=0), gaussian(17, 4, seed=1, shift=0.5)
    whole = kernel_audio_distance(real, generated)
    for rows in (1, 4, 16):
        monkeypatch.setattr(distances, "CHUNK_ROWS", rows)
        assert kernel_audio_distance(real, generated) == pytest.approx(whole, rel=1e-12)


def test_between_gaussians_it_is_the_closed_form() -> None:
    """With v = b^2 + s^2 + t^2 the mean of the kernel over N(m, s^2 I) and N(n, t^2 I) is

    (b^2 / v)^(d/2) exp(-|m - n|^2 / 2 v).
    """
    dims, shift, scale = 3, 0.8, 0.5
    real, generated = gaussian(2000, dims, seed=0), gaussian(2000, dims, seed=1, scale=scale, shift=shift)
    square = (
        2 * 2.366
    )  # the median of chi-square with 3 degrees of freedom is 2.366; differences have twice the variance

    def mean_kernel(s: float, t: float, apart: float) -> float:
        v = square + s**2 + t**2
        return float((square / v) ** (dims / 2) * math.exp(-(apart**2) / (2 * v)))

    apart = shift * math.sqrt(dims)
    expected = 100 * (mean_kernel(1, 1, 0) + mean_kernel(scale, scale, 0) - 2 * mean_kernel(1, scale, apart))
    assert expected > 10
    assert kernel_audio_distance(real, generated) == pytest.approx(expected, rel=0.06)


def test_it_is_unbiased() -> None:
    """Of sets from one distribution it scatters around zero, below as well as above."""
    values = [kernel_audio_distance(gaussian(30, 3, seed=2 * n), gaussian(20, 3, seed=2 * n + 1)) for n in range(60)]
    assert 15 < sum(value < 0 for value in values) < 50
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(len(values))


def test_the_kernel_is_the_real_sets_whatever_is_generated() -> None:
    """A scale of everything cancels; of the generated set alone it does not, and the sides are not alike."""
    real, generated = gaussian(30, 5, seed=0), gaussian(30, 5, seed=1, scale=2)
    value = kernel_audio_distance(real, generated)
    assert kernel_audio_distance(real * 1e-3, generated * 1e-3) == pytest.approx(value, rel=1e-9)
    assert kernel_audio_distance(real + 7, generated + 7) == pytest.approx(value, rel=1e-9)
    assert kernel_audio_distance(generated, real) != pytest.approx(value, rel=0.01)
    distance = kernel_audio_distance.from_real(real)
    assert distance(generated) == value
    assert distance(generated[:20]) == kernel_audio_distance(real, generated[:20])


def test_a_large_real_set_has_its_bandwidth_from_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows 0, 5, 10 and 15 of 16, on a line: distances 5, 5, 5, 10, 10, 15."""
    line = torch.arange(16).double()[:, None]
    monkeypatch.setattr(distances, "BANDWIDTH_ROWS", 4)
    assert distances._median_distance(line) == 5
    assert distances._median_distance(line[:3]) == 1
    monkeypatch.setattr(distances, "BANDWIDTH_ROWS", 16)
    assert distances._median_distance(line) == 5  # 120 pairs: 15 of 1, 14 of 2, ..., the 60th is one of 11 of 5


def test_where_most_real_rows_are_equal_the_kernel_tells_equal_from_different() -> None:
    """Silence, mostly: 10 of 12 rows are equal, so 45 of 66 pairs; of 4 generated rows half are that."""
    silence, others = gaussian(1, 40, seed=0, shift=9), gaussian(4, 40, seed=1)
    real, generated = torch.cat([silence.repeat(10, 1), others[:2]]), torch.cat([silence.repeat(2, 1), others[2:]])
    expected = 100 * (45 / 66 + 1 / 6 - 2 * (10 * 2) / (12 * 4))
    assert kernel_audio_distance(real, generated) == pytest.approx(expected, rel=1e-12)
