"""Images of which only a smaller version is known."""

import torch.nn.functional as F
from torch import Tensor

from linnet.diffusion.operators import BlockAverage
from linnet.inference.degradations.base import DegradationProcess
from linnet.inference.degradations.files import RestorationInput
from linnet.inference.inverse_problem import InverseProblem
from linnet.recipe import Shape
from linnet.recipe.restore import SuperResolution


class BlockMeans(DegradationProcess[SuperResolution]):
    """Each pixel of a file is the mean of a block; the baseline is bicubic upsampling."""

    def pose(self, shape: Shape) -> InverseProblem:
        return self.problem(BlockAverage(self.section.factor))

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        return self.pose(shape)

    def restored_shape(self, shape: Shape) -> Shape:
        channels, height, width = shape
        return channels, height * self.section.factor, width * self.section.factor

    def observe_file(self, problem: InverseProblem, x: Tensor) -> Tensor:
        return x * problem.row_scale

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        small = F.avg_pool2d(self.codec.unstandardize(self.as_example(problem, y)), self.section.factor)
        return F.interpolate(small, scale_factor=float(self.section.factor), mode="bicubic", align_corners=False)
