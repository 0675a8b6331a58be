"""A missing stretch of time."""

import torch
from torch import Tensor

from linnet.inference.degradations.spectrogram_mask import SpectrogramMask, interpolate_frames
from linnet.recipe import Audio, Shape
from linnet.recipe.restore import InpaintFrames

CROSSFADE_SECONDS = 0.01  # from the recording to what fills a gap


class MissingFrames(SpectrogramMask[InpaintFrames]):
    """The frames whose window reaches into a gap."""

    def mask(self, shape: Shape) -> Tensor:
        start = self.section.start_seconds
        return frames_touching(self.data, shape[-1], start, start + self.section.gap_seconds)[None, None, :]

    def interpolate(self, magnitude: Tensor, missing: Tensor) -> Tensor:
        return interpolate_frames(magnitude, missing)

    def keep_known_samples(self, waveform: Tensor, known: Tensor) -> Tensor:
        """The samples of the file outside the gap, a crossfade, and the restoration in it; all of it if it is noisy."""
        if self.section.noise_std:
            return waveform
        known = known.to(waveform)
        return torch.lerp(waveform, known, self._weight_of_known(len(known)).to(waveform))

    def _weight_of_known(self, num_samples: int) -> Tensor:
        """[N] in 0..1: 1 where the recording is whole, 0 in its gap, and a straight way between."""
        seconds = torch.arange(num_samples) / self.data.sample_rate_hz
        start = self.section.start_seconds
        away = torch.maximum(start - seconds, seconds - start - self.section.gap_seconds)
        return (away / CROSSFADE_SECONDS).clamp(0, 1)


def frames_touching(data: Audio, num_frames: int, start_seconds: float, end_seconds: float) -> Tensor:
    """Bool [T]: the frames whose window reaches into that stretch of time, of which nothing whole was observed."""
    seconds = torch.arange(num_frames, dtype=torch.float64) * data.stft.hop_samples / data.sample_rate_hz
    half = data.stft.window_samples / 2 / data.sample_rate_hz  # the window is 0 at its ends
    return (seconds + half > start_seconds) & (seconds - half < end_seconds)
