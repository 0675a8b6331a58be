"""A restoration task of the recipe as mathematics: what is observed of x, with which noise, and what is missing."""

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from linnet.diffusion.operators import BlockAverage, FrequencyConvolution, Identity, LinearOperator, Mask, RowScaled
from linnet.diffusion.reverb import exponential_filter
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.modalities.image_codec import ImageCodec
from linnet.recipe import (
    Audio,
    BandwidthExtension,
    BlindDereverberation,
    Denoise,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    RestorationTask,
    Shape,
    SuperResolution,
)


@dataclass(frozen=True)
class Problem:
    """y = operator(x) + row_scale * noise, all in standardised units."""

    codec: Codec
    operator: LinearOperator
    amplitude: float  # standard deviation of the white noise on pixels or samples, where full scale is 1
    noise_std: Tensor  # of y once it is `whitened`, broadcasts to [C, H, W]: 1 where rows are scaled by their noise
    missing: Tensor  # bool, broadcasts to [C, H, W]: what the observation says nothing about
    row_scale: Tensor  # broadcasts to y
    has_room: bool

    def as_observed(self, y: Tensor) -> Tensor:
        """Y [B, ...] as people would see or hear it, in the shape of x: the room is left in it, means fill blocks."""
        return y / self.row_scale if self.has_room else self.operator.pseudo_inverse(y)

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the pixels or samples that one y of this shape [...] was made of."""
        match self.codec:
            case AudioCodec():
                return ((shape[-1] - 1) * self.codec.data.stft.hop_samples,)
            case _:
                return shape

    def damaged(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What is observed of standardised examples [B, C, H, W].

        Args:
            noise: standard normal [B, *noise_shape], for the pixels or samples.
        """
        y = self.operator.forward(clean)
        if self.amplitude == 0:
            return y
        match self.codec:
            case AudioCodec():
                in_x = self.codec.spectrogram(self.amplitude * noise) / self.codec.scale
            case ImageCodec():
                in_x = self.amplitude * noise / self.codec.std
            case _:
                raise AssertionError(self.codec)
        return y + self.row_scale * in_x

    def whitened(self, y: Tensor, noise: Tensor) -> Tensor:
        """Y with noise that is independent from number to number, as DDRM takes it to be, of `noise_std`.

        Frames overlap: the noise of N samples lies in the N dimensions of spectrograms that are some waveform's, and is
        N_window / hop times stronger there than its spread in one bin says. Added is what no waveform has of white
        noise of that strength. Nothing that y says is lost: the waveform of the sum is that of y.

        Args:
            noise: standard normal [B, C, H, W].
        """
        if self.amplitude == 0 or not isinstance(self.codec, AudioCodec):
            return y
        drawn = self.noise_std / self.row_scale * self.codec.scale * noise
        return y + self.row_scale * self.codec.inconsistency(drawn) / self.codec.scale


def build_problem(task: RestorationTask, codec: Codec, shape: Shape, *, seed: int, device: torch.device) -> Problem:
    """The problem that `task` poses about examples of `shape`; random masks and rooms come from `seed`.

    A blind task is posed like a known one: its room damages held-out examples and is then forgotten.
    """
    rng = np.random.default_rng([seed, *task.name.encode()])
    missing = _missing(task, codec, shape, rng).to(device)
    operator = _operator(task, codec, shape, missing, rng, device)
    amplitude, noise_std = task.noise_std, noise_rows(codec, task.noise_std)
    has_room = isinstance(task, KnownReverb | BlindDereverberation)
    if task.noise_std == 0 or isinstance(task, BlindDereverberation):  # a filter that is not known cannot be whitened
        return Problem(codec, operator, amplitude, noise_std, missing, torch.ones_like(noise_std), has_room)
    ones, scale = torch.ones_like(noise_std), 1 / noise_std
    return Problem(codec, RowScaled(operator, scale), amplitude, ones, missing, scale, has_room)


def noise_rows(codec: Codec, noise_std: float) -> Tensor:
    """[C, 1, 1] or [1, F, 1]: the standard deviation in x of white noise on pixels or waveforms, once whitened."""
    match codec:
        case ImageCodec():
            return noise_std / codec.std
        case AudioCodec():
            size, hop = codec.data.stft.window_samples, codec.data.stft.hop_samples
            power = float((torch.hann_window(size, dtype=torch.float64) ** 2).sum()) / 2  # of the real part of a bin
            return (noise_std * math.sqrt(power * size / hop) / codec.scale)[None]  # size / hop numbers for a sample
        case _:
            raise AssertionError(codec)


def _operator(
    task: RestorationTask,
    codec: Codec,
    shape: Shape,
    missing: Tensor,
    rng: np.random.Generator,
    device: torch.device,
) -> LinearOperator:
    match task:
        case Denoise():
            return Identity()
        case InpaintPixels() | InpaintBins() | InpaintFrames() | BandwidthExtension():
            return Mask(~missing)
        case SuperResolution():
            return BlockAverage(task.factor)
        case KnownReverb() | BlindDereverberation():
            return FrequencyConvolution(made_up_room(task, _audio(codec), shape, rng).to(device))
        case _:
            assert_never(task)


def made_up_room(
    task: KnownReverb | BlindDereverberation, data: Audio, shape: Shape, rng: np.random.Generator
) -> Tensor:
    """Complex [F, taps]: a filter for every frequency that decays by 60 dB in the task's time."""
    frame_seconds = data.stft.hop_samples / data.sample_rate_hz
    taps = min(1 + round(task.reverberation_seconds / frame_seconds), shape[-1] // 2)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return exponential_filter(shape[1], taps, task.reverberation_seconds, frame_seconds, generator)


def _missing(task: RestorationTask, codec: Codec, shape: Shape, rng: np.random.Generator) -> Tensor:
    _, height, width = shape
    nothing = torch.zeros(1, 1, 1, dtype=torch.bool)
    match task:
        case Denoise() | KnownReverb() | BlindDereverberation() | SuperResolution():
            return nothing
        case InpaintPixels(pattern="random", missing_fraction=fraction):
            return torch.from_numpy(rng.random((1, height, width)) < fraction)
        case InpaintPixels(missing_fraction=fraction):
            mask = torch.zeros(1, height, width, dtype=torch.bool)
            tall, wide = (round(side * math.sqrt(fraction)) for side in (height, width))
            top, left = (height - tall) // 2, (width - wide) // 2
            mask[:, top : top + tall, left : left + wide] = True
            return mask
        case InpaintBins(low_hz=low, high_hz=high):
            frequencies = bin_frequencies(_audio(codec))
            return ((frequencies >= low) & (frequencies < high))[None, :, None]
        case BandwidthExtension(cutoff_hz=cutoff):
            return (bin_frequencies(_audio(codec)) >= cutoff)[None, :, None]
        case InpaintFrames(start_seconds=start, gap_seconds=gap):
            return frames_touching(_audio(codec), width, start, start + gap)[None, None, :]
        case _:
            assert_never(task)


def frames_touching(data: Audio, num_frames: int, start_seconds: float, end_seconds: float) -> Tensor:
    """Bool [T]: the frames whose window reaches into that stretch of time, of which nothing whole was observed."""
    seconds = torch.arange(num_frames, dtype=torch.float64) * data.stft.hop_samples / data.sample_rate_hz
    half = data.stft.window_samples / 2 / data.sample_rate_hz  # the window is 0 at its ends
    return (seconds + half > start_seconds) & (seconds - half < end_seconds)


def bin_frequencies(data: Audio) -> Tensor:
    """[F] centre of each bin in Hz, float64."""
    first = 0 if data.stft.keep_dc else 1
    bins = torch.arange(first, first + data.stft.num_bins, dtype=torch.float64)
    return bins * data.sample_rate_hz / data.stft.window_samples


def _audio(codec: Codec) -> Audio:
    assert isinstance(codec, AudioCodec), "the recipe's check"
    return codec.data
