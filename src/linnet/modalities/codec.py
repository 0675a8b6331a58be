"""What lies in a dataset <-> what the network sees <-> what people look at and listen to."""

from dataclasses import dataclass
from typing import Any, Protocol, Self, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.griffin_lim import KnownBins, griffin_lim
from linnet.audio.normalization import noise_floor
from linnet.audio.pcm import FULL_SCALE, encode_waveform
from linnet.audio.spectrogram_image import spectrogram_image
from linnet.audio.stft import Transform, as_channels, as_magnitude, as_spectrum
from linnet.errors import LinnetError
from linnet.recipe import (
    Audio,
    CaltechBirds,
    ComplexSpectrogram,
    DataSection,
    MagnitudeSpectrogram,
)

Statistics = dict[str, Any]  # statistics.json
Stored = NDArray[Any]  # uint8 images [N, H, W, 3] or int16 waveforms [N, samples]
THUMBNAIL_SIDE = 32
PHASE_SEED = 0  # Griffin-Lim starts from the same phases every time


class NotFiniteError(LinnetError):
    """What the network made cannot be shown or played."""


class Codec(Protocol):
    """The two ways between stored examples and standardised tensors x [B, C, H, W]."""

    def encode(self, stored: Tensor) -> Tensor:
        """A batch of a dataset as x, float32."""

    def decode(self, x: Tensor) -> Stored:
        """X as images or waveforms, rounded and within range; x may be longer than a training example."""

    def clip(self, x: Tensor) -> Tensor:
        """X brought into the range that real examples have."""

    def natural(self, x: Tensor) -> Tensor:
        """X without its standardisation: pixels in 0..1, or the spectrogram as it is; float32."""

    def standardised(self, natural: Tensor) -> Tensor:
        """The way back."""

    def average(self, draws: Tensor) -> Tensor:
        """[K, B, C, H, W] -> [B, C, H, W]: what several guesses at the same example agree on."""

    def images(self, examples: Stored) -> NDArray[np.uint8]:
        """Decoded examples as images [N, height, width, 3]: spectrograms, where they are audio."""

    def thumbnails(self, examples: Stored) -> NDArray[np.uint8]:
        """The same no larger than needed to find like ones."""


def build_codec(data: DataSection, statistics: Statistics, device: torch.device) -> Codec:
    """The codec of a data section, with what preprocess measured on the train split."""
    match data:
        case CaltechBirds():
            return ImageCodec.of(statistics, device)
        case Audio():
            return AudioCodec(data, statistics, device)
        case _:
            assert_never(data)


@dataclass(frozen=True)
class ImageCodec:
    """uint8 images <-> mean 0 and standard deviation 1 per channel."""

    mean: Tensor  # [3, 1, 1], of pixels scaled to 0..1
    std: Tensor

    @classmethod
    def of(cls, statistics: Statistics, device: torch.device) -> Self:
        """From the statistics that preprocess computed on the train split."""
        mean, std = (torch.tensor(statistics[key], device=device)[:, None, None] for key in ("mean", "std"))
        return cls(mean, std)

    def encode(self, stored: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], laid out channels last."""
        return (stored.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        """float32 [B, 3, H, W] -> uint8 [B, H, W, 3], rounded and clipped.

        Raises:
            NotFiniteError: the sampler has left the range of numbers.
        """
        _check_finite(x, "images")
        pixels = ((x * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def clip(self, x: Tensor) -> Tensor:
        """Bring `x` into the range that real pixels have."""
        return torch.clamp(x, -self.mean / self.std, (1 - self.mean) / self.std)

    def natural(self, x: Tensor) -> Tensor:
        """Pixels in 0..1."""
        return x * self.std + self.mean

    def standardised(self, natural: Tensor) -> Tensor:
        """The way back."""
        return (natural - self.mean) / self.std

    def average(self, draws: Tensor) -> Tensor:
        """The mean, which has the least squared error."""
        return draws.mean(dim=0)

    def images(self, examples: Stored) -> NDArray[np.uint8]:
        """They are."""
        return np.asarray(examples, dtype=np.uint8)

    def thumbnails(self, examples: Stored) -> NDArray[np.uint8]:
        """They are small already."""
        return self.images(examples)


class AudioCodec:
    """int16 waveforms or finished spectrograms <-> spectrograms standardised per frequency."""

    def __init__(self, data: Audio, statistics: Statistics, device: torch.device) -> None:
        self.data, self.transform = data, Transform(data.stft)
        columns = (torch.tensor(statistics[key], device=device)[:, None] for key in ("mean", "scale", "peak"))
        self.mean, self.scale, self.peak = columns  # [F, 1]; the mean of complex spectrograms is 0

    def encode(self, stored: Tensor) -> Tensor:
        """int16 [B, samples] or float32 [B, C, F, T] -> float32 [B, C, F, T]."""
        return self.standardised(self.channels(stored) if stored.dtype == torch.int16 else stored)

    def channels(self, waveforms: Tensor) -> Tensor:
        """int16 [B, samples] -> float32 [B, C, F, T], as the STFT gives them."""
        return self.channels_of(waveforms.float() / FULL_SCALE)

    def channels_of(self, waveforms: Tensor) -> Tensor:
        """Float [B, samples] in -1..1 -> float32 [B, C, F, T]."""
        return as_channels(self.transform.spectrum(waveforms), self.data.representation)

    def decode(self, x: Tensor) -> NDArray[np.int16]:
        """[B, C, F, T] -> int16 [B, (T - 1) * hop]; audio that would clip is made softer as a whole, never louder."""
        return to_samples(self.waveform(self.natural(x)))

    def waveform(self, natural: Tensor, *, known: KnownBins | None = None) -> Tensor:
        """A spectrogram [B, C, F, T] -> float32 [B, (T - 1) * hop], as loud as it says.

        Args:
            known: bins whose phase is known, for magnitudes.
        """
        length = (natural.shape[-1] - 1) * self.data.stft.hop_samples
        match self.data.representation:
            case ComplexSpectrogram():
                spectrum = as_spectrum(natural)
                dc = None if self.data.stft.keep_dc else self.transform.estimate_dc(spectrum, length)
                return self.transform.waveform(spectrum, length, dc=dc)
            case MagnitudeSpectrogram() as representation:
                magnitude, iterations = as_magnitude(natural, representation), representation.phase_iterations
                return griffin_lim(
                    self.transform, magnitude, length, iterations=iterations, seed=PHASE_SEED, known=known
                )
            case _:
                assert_never(self.data.representation)

    def inconsistent(self, natural: Tensor) -> Tensor:
        """What no waveform has of complex spectrograms [B, 2, F, T]: the STFT of their waveform taken away."""
        return natural - self.channels_of(self.waveform(natural))

    def clip(self, x: Tensor) -> Tensor:
        """Bring `x` into the range that the training examples have, frequency by frequency."""
        is_magnitude = isinstance(self.data.representation, MagnitudeSpectrogram)
        return torch.clamp(x, -self.mean / self.scale if is_magnitude else -self.peak, self.peak)

    def natural(self, x: Tensor) -> Tensor:
        """The spectrogram as the STFT gives it."""
        return x * self.scale + self.mean

    def standardised(self, natural: Tensor) -> Tensor:
        """The way back."""
        return (natural - self.mean) / self.scale

    def average(self, draws: Tensor) -> Tensor:
        """The mean of the magnitudes in decibels, which has the least log-spectral error, with the first draw's phase.

        A mean of complex numbers whose phases differ would be too quiet.
        """
        if len(draws) == 1:
            return draws[0]
        natural = self.natural(draws)
        floor = noise_floor(self.data.stft, self.data.representation)  # below it all is silence, however many decibels
        match self.data.representation:
            case ComplexSpectrogram():
                magnitude = as_spectrum(natural).abs()[:, :, None].clamp(min=floor)
                return self.standardised(natural[0] * (magnitude.log().mean(dim=0).exp() / magnitude[0]))
            case MagnitudeSpectrogram():
                return self.standardised(natural.clamp(min=floor).log().mean(dim=0).exp())
            case _:
                assert_never(self.data.representation)

    def images(self, examples: Stored) -> NDArray[np.uint8]:
        """Spectrograms of waveforms [N, samples]."""
        rate = self.data.sample_rate_hz
        return np.stack([spectrogram_image(row, sample_rate_hz=rate) for row in examples])

    def thumbnails(self, examples: Stored) -> NDArray[np.uint8]:
        """Spectrograms of waveforms [N, samples], few pixels each."""
        rate, side = self.data.sample_rate_hz, THUMBNAIL_SIDE
        return np.stack([spectrogram_image(row, sample_rate_hz=rate, height=side, width=side) for row in examples])


def to_samples(waveform: Tensor) -> NDArray[np.int16]:
    """Float [B, samples] -> int16; rows whose peak is above full scale are scaled down to it.

    Raises:
        NotFiniteError: the sampler has left the range of numbers.
    """
    _check_finite(waveform, "audio")
    peak = waveform.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
    return encode_waveform((waveform / peak).cpu().numpy())


def _check_finite(x: Tensor, what: str) -> None:
    if not bool(torch.isfinite(x).all()):
        raise NotFiniteError(
            f"the model made infinite or undefined {what}: set clip_x0 = true, use more sampling steps or precision = "
            "'fp32', or train longer"
        )
