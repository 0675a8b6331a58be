"""An unknown room."""

from torch import Tensor

from linnet.audio.stft import as_channels, as_spectrum
from linnet.diffusion.dereverberation import blind_dereverb, wpe
from linnet.diffusion.operators import Identity
from linnet.diffusion.samplers import OnStep, PerSampleNoise, PredictX0
from linnet.diffusion.schedule import NoiseSchedule
from linnet.inference.degradations.files import RestorationError, RestorationInput
from linnet.inference.degradations.reverberation import Reverberation
from linnet.inference.inverse_problem import InverseProblem
from linnet.recipe import ComplexSpectrogram, RestoreSection, Shape
from linnet.recipe.restore import BlindDereverberation

WPE_TAPS, WPE_ITERATIONS = 10, 3


class UnknownRoom(Reverberation[BlindDereverberation]):
    """Held-out examples get a synthetic room that is then forgotten; the baseline is weighted prediction error."""

    def pose(self, shape: Shape) -> InverseProblem:
        return self.problem(self.synthetic_room(shape), is_blind=True)

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        if self.section.filter_frames > shape[-1]:
            raise RestorationError(
                f"{given.file}: filter_frames = {self.section.filter_frames} is more than its {shape[-1]} frames; give "
                "fewer"
            )
        return self.problem(Identity(), is_blind=True)

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        spectrum = as_spectrum(self.codec.unstandardize(self.as_example(problem, y)))
        dry = wpe(spectrum, taps=WPE_TAPS, delay=self.wpe_delay, iterations=WPE_ITERATIONS)
        return as_channels(dry, ComplexSpectrogram(kind="complex"))

    @property
    def wpe_delay(self) -> int:
        """Frames over which dry audio is correlated with itself, because their windows overlap."""
        return max(1, self.data.stft.window_samples // self.data.stft.hop_samples - 1)

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
        """By GibbsDDRM, which estimates the room's filter on the way."""
        return blind_dereverb(
            y,
            problem.noise_std.reshape(-1),
            schedule,
            predict_x0,
            noise,
            filter_frames=self.section.filter_frames,
            wpe_delay=self.wpe_delay,
            num_steps=settings.num_steps,
            spacing=settings.spacing,
            eta=settings.eta,
            eta_b=settings.eta_b,
            below_noise=settings.below_noise,
            on_step=on_step,
        )
