"""What a known room and an unknown one have in common."""

from typing import TypeVar

import torch
from torch import Tensor

from linnet.diffusion.operators import FrequencyConvolution
from linnet.diffusion.reverb import exponential_filter
from linnet.inference.degradations.base import DegradationProcess
from linnet.inference.inverse_problem import InverseProblem
from linnet.recipe import Shape
from linnet.recipe.restore import BlindDereverberation, KnownReverb

SectionT = TypeVar("SectionT", KnownReverb, BlindDereverberation)


class Reverberation(DegradationProcess[SectionT]):
    """Every frequency convolved over time with the filter of a room."""

    def as_example(self, problem: InverseProblem, y: Tensor) -> Tensor:
        """The room is left in it."""
        return y / problem.row_scale

    def observe_file(self, problem: InverseProblem, x: Tensor) -> Tensor:
        return x * problem.row_scale

    def synthetic_room(self, shape: Shape) -> FrequencyConvolution:
        """The operator of a room that decays by 60 dB in the section's time."""
        return FrequencyConvolution(self.synthetic_filters(shape).to(self.device))

    def synthetic_filters(self, shape: Shape) -> Tensor:
        """Complex [F, taps], for every frequency."""
        frame_seconds = self.data.stft.hop_samples / self.data.sample_rate_hz
        taps = min(1 + round(self.section.reverberation_seconds / frame_seconds), shape[-1] // 2)
        generator = torch.Generator().manual_seed(int(self.rng().integers(2**31)))
        return exponential_filter(shape[1], taps, self.section.reverberation_seconds, frame_seconds, generator)
