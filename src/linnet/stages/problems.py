"""A restoration task of the recipe as mathematics: what is observed of x, with which noise, and what is missing."""

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from linnet.diffusion.operators import BlockAverage, FrequencyConvolution, Identity, LinearOperator, Mask, RowScaled
from linnet.diffusion.reverb import exponential_filter
from linnet.recipe import (
    BandwidthExtension,
    BlindDereverberation,
    Denoise,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    RestorationTask,
    Shape,
    Sound,
    SuperResolution,
)
from linnet.stages.codec import Codec, PictureCodec, SoundCodec


@dataclass(frozen=True)
class Problem:
    """y = operator(x) + noise, all in standardised units."""

    operator: LinearOperator
    noise_std: Tensor  # broadcasts to [C, H, W]; 0, or 1 where rows of the operator are scaled by their noise
    missing: Tensor  # bool, broadcasts to [C, H, W]: what the observation says nothing about
    row_scale: Tensor  # broadcasts to y
    has_room: bool

    def as_observed(self, y: Tensor) -> Tensor:
        """Y [B, ...] as people would see or hear it, in the shape of x: the room is left in it, means fill blocks."""
        return y / self.row_scale if self.has_room else self.operator.pseudo_inverse(y)


def build_problem(task: RestorationTask, codec: Codec, shape: Shape, *, seed: int, device: torch.device) -> Problem:
    """The problem that `task` poses about examples of `shape`; random masks and rooms come from `seed`.

    A blind task is posed like a known one: its room damages held-out examples and is then forgotten.
    """
    rng = np.random.default_rng([seed, *task.name.encode()])
    missing = _missing(task, codec, shape, rng).to(device)
    operator = _operator(task, codec, shape, missing, rng, device)
    noise_std = noise_rows(codec, task.noise_std)
    has_room = isinstance(task, KnownReverb | BlindDereverberation)
    if task.noise_std == 0 or isinstance(task, BlindDereverberation):  # a filter that is not known cannot be whitened
        return Problem(operator, noise_std, missing, torch.ones_like(noise_std), has_room)
    scale = 1 / noise_std
    return Problem(RowScaled(operator, scale), torch.ones_like(noise_std), missing, scale, has_room)


def noise_rows(codec: Codec, noise_std: float) -> Tensor:
    """[C, 1, 1] or [1, F, 1]: the standard deviation that white noise on pixels or waveforms has in x."""
    match codec:
        case PictureCodec():
            return noise_std / codec.std
        case SoundCodec():
            window = torch.hann_window(codec.data.stft.window_samples, dtype=torch.float64)
            gain = math.sqrt(float((window**2).sum()) / 2)  # of the real and of the imaginary part
            return (noise_std * gain / codec.scale)[None]
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
            return FrequencyConvolution(made_up_room(task, _sound(codec), shape, rng).to(device))
        case _:
            assert_never(task)


def made_up_room(
    task: KnownReverb | BlindDereverberation, data: Sound, shape: Shape, rng: np.random.Generator
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
            frequencies = bin_frequencies(_sound(codec))
            return ((frequencies >= low) & (frequencies < high))[None, :, None]
        case BandwidthExtension(cutoff_hz=cutoff):
            return (bin_frequencies(_sound(codec)) >= cutoff)[None, :, None]
        case InpaintFrames(start_seconds=start, gap_seconds=gap):
            data = _sound(codec)
            seconds = torch.arange(width, dtype=torch.float64) * data.stft.hop_samples / data.sample_rate_hz
            return ((seconds >= start) & (seconds < start + gap))[None, None, :]
        case _:
            assert_never(task)


def bin_frequencies(data: Sound) -> Tensor:
    """[F] centre of each bin in Hz, float64."""
    first = 0 if data.stft.keep_dc else 1
    bins = torch.arange(first, first + data.stft.num_bins, dtype=torch.float64)
    return bins * data.sample_rate_hz / data.stft.window_samples


def _sound(codec: Codec) -> Sound:
    assert isinstance(codec, SoundCodec), "the recipe's check"
    return codec.data
