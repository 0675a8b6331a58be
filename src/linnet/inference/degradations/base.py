"""What every degradation has to say; a method that is forgotten stops the program at once."""

import abc
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from linnet.diffusion.operators import LinearOperator
from linnet.diffusion.restoration import ddrm
from linnet.diffusion.samplers import OnStep, PerSampleNoise, PredictX0
from linnet.diffusion.schedule import NoiseSchedule
from linnet.inference.degradations.files import RestorationInput
from linnet.inference.inverse_problem import InverseProblem
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.recipe import Audio, Degradation, RestoreSection, Shape

SectionT = TypeVar("SectionT", bound=Degradation)


@dataclass(frozen=True)
class DegradationProcess(abc.ABC, Generic[SectionT]):
    """A degradation of the recipe applied to examples of a codec. All x are standardised, [B, C, H, W].

    Held-out examples are degraded here (`pose`). A file of somebody's own is degraded already: `pose_file` and
    `observe_file` say what is known of it, and must never degrade it again.
    """

    section: SectionT
    codec: Codec
    seed: int
    device: torch.device

    @abc.abstractmethod
    def pose(self, shape: Shape) -> InverseProblem:
        """The problem of held-out examples of `shape`; what is random in it comes from `rng`."""

    @abc.abstractmethod
    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        """The problem that a file poses whose restoration has `shape`.

        Raises:
            RestorationError: something is missing that has to go with the file, or it does not fit.
        """

    @abc.abstractmethod
    def observe_file(self, problem: InverseProblem, x: Tensor) -> Tensor:
        """The y of a file as it is, given as `x`."""

    @abc.abstractmethod
    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        """What people do without a trained prior, as features of the codec: what the model has to beat."""

    def restored_shape(self, shape: Shape) -> Shape:
        """Of the restoration of a file of `shape`."""
        return shape

    def as_example(self, problem: InverseProblem, y: Tensor) -> Tensor:
        """`y` as people would see or hear it, in the shape of x."""
        return problem.operator.pseudo_inverse(y)

    def keep_known_samples(self, waveform: Tensor, known: Tensor) -> Tensor:
        """A restored waveform [1, N], given the samples [N] of the file."""
        return waveform

    def solve(
        self,
        problem: InverseProblem,
        y: Tensor,
        schedule: NoiseSchedule,
        predict_x0: PredictX0,
        noise: PerSampleNoise,
        settings: RestoreSection,
        on_step: OnStep | None,
    ) -> Tensor:
        """One restoration x of each row of `y`, by DDRM."""
        return ddrm(
            problem.operator,
            y,
            float(problem.noise_std.max()),
            schedule,
            predict_x0,
            noise,
            num_steps=settings.num_steps,
            spacing=settings.spacing,
            eta=settings.eta,
            eta_b=settings.eta_b,
            below_noise=settings.below_noise,
            on_step=on_step,
        )

    def rng(self) -> np.random.Generator:
        """Where masks and rooms come from: the recipe's seed and the degradation's name."""
        return np.random.default_rng([self.seed, *self.section.name.encode()])

    def problem(
        self, operator: LinearOperator, *, mask: Tensor | None = None, is_blind: bool = False
    ) -> InverseProblem:
        """The problem of this operator, with the recipe's noise; without a `mask` all of x is observed."""
        everything = torch.zeros(1, 1, 1, dtype=torch.bool)
        mask = (everything if mask is None else mask).to(self.device)
        return InverseProblem(self.codec, operator, self.section.noise_std, mask, is_blind)

    @property
    def data(self) -> Audio:
        """The data section, of a degradation that is for audio only."""
        assert isinstance(self.codec, AudioCodec), "the recipe's check"
        return self.codec.data


AnyDegradation = DegradationProcess[Any]
