"""Which channels stand for a recording, from covariances with a known answer."""

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.data.audio_files.channels import ChannelStatistics, channels_to_mix

RNG = np.random.default_rng(0)
A, B, C, D = RNG.normal(size=(4, 20_000))


def statistics(*channels: NDArray[np.float64]) -> ChannelStatistics:
    found = ChannelStatistics()
    for block in np.split(np.stack(channels), 4, axis=1):
        found.add(block)
    return found


@pytest.mark.parametrize(
    ("channels", "kept"),
    [
        ((A, A), (0, 1)),
        ((A, B), (0, 1)),
        ((A, 0 * A), (0,)),  # empty: it would take 6 dB from the other
        ((0 * A, 0 * A, A, 0 * A, 0 * A, 0 * A), (2,)),
        ((A, -0.53 * A), (0,)),  # inverted and softer
        ((A, -0.3 * A), (0, 1)),  # softer, not gone
        ((A, -A), (0,)),
        ((A, -1.1 * A + 0.1 * B), (1,)),
        ((1.1 * A + 5, -A + 5), (0,)),  # the offset is all that the mean would have
        ((A, B, C, D), (0, 1, 2, 3)),
        ((1.1 * A, -A, B, C), (0, 2, 3)),
        ((A, B, -1.1 * (A + B)), (2,)),  # no two of them cancel
        ((A, -A, B, -1.1 * B, 0 * A, 0 * A), (0, 3)),
        ((0 * A, 0 * A), (0, 1)),
    ],
)
def test_channels_that_cancel_are_left_out(channels: tuple[NDArray[np.float64], ...], kept: tuple[int, ...]) -> None:
    assert channels_to_mix(statistics(*channels).covariance()) == kept


def test_the_covariance_of_blocks_is_that_of_the_whole() -> None:
    channels = (A + np.arange(20_000) / 1e4, B - 2, A + C)
    np.testing.assert_allclose(statistics(*channels).covariance(), np.cov(channels, bias=True), rtol=1e-5, atol=1e-6)


def test_the_fraction_of_blocks_that_cancel() -> None:
    """One of four blocks cancels, one is silent."""
    left, right = A.copy(), A.copy()
    right[:5000] *= -1
    left[5000:10_000] *= 1e-4
    right[5000:10_000] *= -1e-4
    assert statistics(left, right).cancelling_fraction() == 0.25
