"""A fixed mean and scale for every frequency: audio has 60 dB less at the top of its spectrum than at the bottom.

Both are constants of a data set, so a complex spectrogram stays linear in the waveform.
"""

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.pcm import FULL_SCALE
from linnet.recipe import STFT, ComplexSpectrogram, MagnitudeSpectrogram


@dataclass(frozen=True)
class FrequencyNormalization:
    """One value for each bin: the network sees (channel - mean) / scale."""

    mean: list[float]
    scale: list[float]
    peak: list[float]  # the largest |channel - mean| / scale of any training example


class FrequencyStatistics:
    """Accumulates the normalization over training examples in float64: equal examples in equal order, equal bits."""

    def __init__(self, stft: STFT, representation: ComplexSpectrogram | MagnitudeSpectrogram) -> None:
        self._stft, self._representation = stft, representation
        self._count = 0
        self._sum, self._squares = np.zeros(stft.num_bins), np.zeros(stft.num_bins)
        self._low, self._high = np.full(stft.num_bins, np.inf), np.full(stft.num_bins, -np.inf)

    def add(self, channels: Tensor) -> None:
        """Add examples, float [..., channels, bins, frames] as `as_channels` gives them."""
        rows: NDArray[np.float32] = channels.detach().cpu().numpy().reshape(-1, *channels.shape[-3:])
        for row in rows:  # one by one, so that the sums do not depend on how examples were batched
            values = row.astype(np.float64)
            self._count += values.shape[0] * values.shape[2]
            self._sum += values.sum(axis=(0, 2))
            self._squares += np.square(values).sum(axis=(0, 2))
            np.minimum(self._low, values.min(axis=(0, 2)), out=self._low)
            np.maximum(self._high, values.max(axis=(0, 2)), out=self._high)

    def normalization(self) -> FrequencyNormalization:
        """Complex: mean 0 and root mean square. Magnitude: mean and standard deviation. Never below the noise floor."""
        assert self._count > 0, "no example was added"
        match self._representation:
            case ComplexSpectrogram():
                mean, variance = np.zeros_like(self._sum), self._squares / self._count
            case MagnitudeSpectrogram():
                mean = self._sum / self._count
                variance = np.maximum(self._squares / self._count - mean**2, 0)
            case _:
                assert_never(self._representation)
        scale = np.maximum(np.sqrt(variance), noise_floor(self._stft, self._representation))
        peak = np.maximum(self._high - mean, mean - self._low) / scale
        return FrequencyNormalization(mean.tolist(), scale.tolist(), peak.tolist())


def noise_floor(stft: STFT, representation: ComplexSpectrogram | MagnitudeSpectrogram) -> float:
    """The scale that rounding to 16 bits alone would give a bin; a silent bin divided by less would be blown-up noise.

    Rounding errors are white with variance v = (1 / 32767)^2 / 12, so real and imaginary part are normal with variance
    s^2 = v sum(w^2) / 2, and sum(w^2) = 3/8 window_samples for a Hann window. |STFT| then has a Rayleigh distribution,
    whose power p has E = s^p 2^(p/2) Gamma(1 + p/2) and E of its square = s^(2p) 2^p Gamma(1 + p).
    """
    deviation = math.sqrt((1 / FULL_SCALE) ** 2 / 12 * 3 / 8 * stft.window_samples / 2)
    match representation:
        case ComplexSpectrogram():
            return deviation
        case MagnitudeSpectrogram(exponent=p):
            spread = math.gamma(1 + p) - math.gamma(1 + p / 2) ** 2
            return float(deviation**p * 2 ** (p / 2) * math.sqrt(spread))
        case _:
            assert_never(representation)
