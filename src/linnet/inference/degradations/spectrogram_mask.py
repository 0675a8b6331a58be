"""What degradations have in common that take bins or frames away from spectrograms."""

import abc
from typing import TypeVar

import torch
from torch import Tensor

from linnet.audio.stft import as_channels, as_magnitude, as_spectrum
from linnet.diffusion.operators import Mask
from linnet.inference.degradations.base import DegradationProcess
from linnet.inference.degradations.files import RestorationError, RestorationInput
from linnet.inference.inverse_problem import InverseProblem
from linnet.recipe import Audio, MagnitudeSpectrogram, Shape
from linnet.recipe.restore import BandwidthExtension, InpaintBins, InpaintFrames

SectionT = TypeVar("SectionT", InpaintBins, InpaintFrames, BandwidthExtension)


class SpectrogramMask(DegradationProcess[SectionT]):
    """Bins or frames are missing; the baseline interpolates magnitudes across them."""

    @abc.abstractmethod
    def mask(self, shape: Shape) -> Tensor:
        """Bool [1, F, 1] or [1, 1, T]: True where bins or frames are missing."""

    @abc.abstractmethod
    def interpolate(self, magnitude: Tensor, missing: Tensor) -> Tensor:
        """Magnitudes [B, F, T] with those at `missing` [F] or [T] drawn across them."""

    def pose(self, shape: Shape) -> InverseProblem:
        missing = self.mask(shape).to(self.device)
        return self.problem(Mask(~missing), mask=missing)

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        problem = self.pose(shape)
        if bool(problem.mask.all()) or not bool(problem.mask.any()):
            seconds = (shape[-1] - 1) * self.data.stft.hop_samples / self.data.sample_rate_hz
            raise RestorationError(
                f"{given.file}: {self.section.kind} would restore {'all' if problem.mask.any() else 'nothing'} of it. "
                f"Padded to whole frames it is {seconds:.3g} s long, and this model knows frequencies up to "
                f"{self.data.sample_rate_hz / 2:g} Hz: give a degradation that lies within"
            )
        return problem

    def observe_file(self, problem: InverseProblem, x: Tensor) -> Tensor:
        return problem.operator.forward(x)  # whatever a file has where bins or frames are said to be missing

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        """Magnitudes drawn straight across what is missing; with phase 0 there, because nobody knows it."""
        observed, missing = self.codec.unstandardize(self.as_example(problem, y)), problem.mask
        if isinstance(self.data.representation, MagnitudeSpectrogram):
            magnitude = self.interpolate(as_magnitude(observed, self.data.representation), missing.reshape(-1))
            return as_channels(torch.complex(magnitude, torch.zeros_like(magnitude)), self.data.representation)
        magnitude = self.interpolate(as_spectrum(observed).abs(), missing.reshape(-1))
        guess = torch.stack([magnitude, torch.zeros_like(magnitude)], dim=1)
        return torch.where(missing, guess, observed)


def bin_frequencies(data: Audio) -> Tensor:
    """[F] centre of each bin in Hz, float64."""
    first = 0 if data.stft.keep_dc else 1
    bins = torch.arange(first, first + data.stft.num_bins, dtype=torch.float64)
    return bins * data.sample_rate_hz / data.stft.window_samples


def interpolate_bins(spectrogram: Tensor, missing: Tensor) -> Tensor:
    """`spectrogram` [..., F, T] with the bins where `missing` [F] is true drawn straight between their neighbours.

    Beyond the last known bin its value is held. Complex numbers are interpolated as such, real and imaginary part each:
    where the phases differ they cancel, and the result is too quiet. For the log-spectral distance give magnitudes (any
    exponent undone), which is the stronger baseline.
    """
    return _interpolate(spectrogram, missing, dim=-2)


def interpolate_frames(spectrogram: Tensor, missing: Tensor) -> Tensor:
    """As `interpolate_bins`, over time: `spectrogram` [..., F, T], `missing` [T]."""
    return _interpolate(spectrogram, missing, dim=-1)


def _interpolate(x: Tensor, missing: Tensor, *, dim: int) -> Tensor:
    assert missing.shape == (x.shape[dim],)
    known = (~missing.to(x.device)).nonzero().squeeze(1)
    assert len(known) > 0, "nothing is known"
    index = torch.arange(x.shape[dim], device=x.device)
    after = known[torch.searchsorted(known, index).clamp(max=len(known) - 1)]
    before = known[(torch.searchsorted(known, index, right=True) - 1).clamp(min=0)]
    weight = ((index - before) / (after - before).clamp(min=1)).to(x.real.dtype)
    weight = weight[:, None] if dim == -2 else weight
    low, high = x.index_select(dim, before), x.index_select(dim, after)
    return low + (high - low) * weight
