"""Waveforms <-> standardized spectrograms."""

from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.griffin_lim import KnownBins, griffin_lim
from linnet.audio.normalization import noise_floor
from linnet.audio.pcm import FULL_SCALE, encode_waveform
from linnet.audio.spectrogram_image import spectrogram_image
from linnet.audio.stft import Transform, as_channels, as_magnitude, as_spectrum
from linnet.modalities.base import Examples, check_finite
from linnet.modalities.statistics import AudioStatistics
from linnet.recipe import Audio, ComplexSpectrogram, MagnitudeSpectrogram

THUMBNAIL_SIDE = 32  # pixels
PHASE_SEED = 0  # Griffin-Lim starts from the same phases every time


class AudioCodec:
    """int16 waveforms or stored spectrograms <-> spectrograms standardized per frequency."""

    def __init__(self, data: Audio, statistics: AudioStatistics, device: torch.device) -> None:
        self.data, self.transform = data, Transform(data.stft)
        columns = (statistics.mean, statistics.scale, statistics.peak)  # the mean of complex spectrograms is 0
        self.mean, self.scale, self.peak = (
            torch.tensor(column, device=device)[:, None] for column in columns
        )  # [F, 1]

    def encode(self, stored: Tensor) -> Tensor:
        """int16 [B, samples] or float32 spectrograms [B, C, F, T] -> float32 [B, C, F, T]."""
        is_waveform = stored.dtype == torch.int16
        return self.standardize(self.spectrogram(stored.float() / FULL_SCALE) if is_waveform else stored)

    def decode(self, x: Tensor) -> NDArray[np.int16]:
        """[B, C, F, T] -> int16 [B, (T - 1) * hop]. What would clip is scaled down as a whole; nothing is scaled up.

        Raises:
            NotFiniteError: `x` holds infinite or undefined values.
        """
        return to_int16(self.waveform(self.unstandardize(x)))

    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """Float [B, samples] in -1..1 -> features, float32 [B, C, F, T], as the STFT gives them."""
        return as_channels(self.transform.spectrum(waveforms), self.data.representation)

    def waveform(self, features: Tensor, *, known: KnownBins | None = None) -> Tensor:
        """Features [B, C, F, T] -> float32 [B, (T - 1) * hop], at their own level.

        Args:
            known: bins whose phase is known, for magnitudes.
        """
        length = (features.shape[-1] - 1) * self.data.stft.hop_samples
        match self.data.representation:
            case ComplexSpectrogram():
                spectrum = as_spectrum(features)
                dc = None if self.data.stft.keep_dc else self.transform.estimate_dc(spectrum, length)
                return self.transform.waveform(spectrum, length, dc=dc)
            case MagnitudeSpectrogram() as representation:
                magnitude, iterations = as_magnitude(features, representation), representation.phase_iterations
                return griffin_lim(
                    self.transform, magnitude, length, iterations=iterations, seed=PHASE_SEED, known=known
                )
            case _:
                assert_never(self.data.representation)

    def inconsistency(self, features: Tensor) -> Tensor:
        """The part of complex spectrograms [B, 2, F, T] that no waveform has: z - STFT(inverse STFT(z))."""
        return features - self.spectrogram(self.waveform(features))

    def clip(self, x: Tensor) -> Tensor:
        """Clamp `x` to the range of the training examples, frequency by frequency."""
        is_magnitude = isinstance(self.data.representation, MagnitudeSpectrogram)
        return torch.clamp(x, -self.mean / self.scale if is_magnitude else -self.peak, self.peak)

    def standardize(self, features: Tensor) -> Tensor:
        """Spectrograms as the STFT gives them -> x."""
        return (features - self.mean) / self.scale

    def unstandardize(self, x: Tensor) -> Tensor:
        """X -> spectrograms as the STFT gives them."""
        return x * self.scale + self.mean

    def average(self, samples: Tensor) -> Tensor:
        """The mean magnitude in decibels, which has the least log-spectral error, with the phase of the first sample.

        A mean of complex numbers whose phases differ would be too quiet.
        """
        if len(samples) == 1:
            return samples[0]
        features = self.unstandardize(samples)
        floor = noise_floor(self.data.stft, self.data.representation)  # below it all is silence, however many decibels
        match self.data.representation:
            case ComplexSpectrogram():
                magnitude = as_spectrum(features).abs()[:, :, None].clamp(min=floor)
                return self.standardize(features[0] * (magnitude.log().mean(dim=0).exp() / magnitude[0]))
            case MagnitudeSpectrogram():
                return self.standardize(features.clamp(min=floor).log().mean(dim=0).exp())
            case _:
                assert_never(self.data.representation)

    def preview(self, examples: Examples) -> NDArray[np.uint8]:
        """int16 [N, samples] -> pictures of their spectrograms, uint8 [N, H, W, 3]."""
        rate = self.data.sample_rate_hz
        return np.stack([spectrogram_image(row, sample_rate_hz=rate) for row in examples])

    def thumbnails(self, examples: Examples) -> NDArray[np.uint8]:
        """int16 [N, samples] -> pictures of their spectrograms with few pixels, uint8 [N, 32, 32, 3]."""
        rate, side = self.data.sample_rate_hz, THUMBNAIL_SIDE
        return np.stack([spectrogram_image(row, sample_rate_hz=rate, height=side, width=side) for row in examples])


def to_int16(waveform: Tensor) -> NDArray[np.int16]:
    """Float [B, samples] -> int16; rows whose peak is above full scale are scaled down to it.

    Raises:
        NotFiniteError: `waveform` holds infinite or undefined values.
    """
    check_finite(waveform, "audio")
    peak = waveform.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
    return encode_waveform((waveform / peak).cpu().numpy())
