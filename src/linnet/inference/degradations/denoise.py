"""Noise on everything, and nothing missing."""

from torch import Tensor

from linnet.diffusion.operators import Identity
from linnet.inference.degradations.base import DegradationProcess
from linnet.inference.degradations.files import RestorationInput
from linnet.inference.inverse_problem import InverseProblem
from linnet.recipe import Shape
from linnet.recipe.restore import Denoise


class AdditiveNoise(DegradationProcess[Denoise]):
    """White noise of known strength; the baseline is the observation itself."""

    def pose(self, shape: Shape) -> InverseProblem:
        return self.problem(Identity())

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        return self.pose(shape)

    def observe_file(self, problem: InverseProblem, x: Tensor) -> Tensor:
        return x * problem.row_scale

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        return self.codec.unstandardize(self.as_example(problem, y))
