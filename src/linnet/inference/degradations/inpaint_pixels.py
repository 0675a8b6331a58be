"""Missing pixels of images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.diffusion.operators import Mask
from linnet.inference.degradations.base import DegradationProcess
from linnet.inference.degradations.files import RestorationError, RestorationInput, read_pixels
from linnet.inference.inverse_problem import InverseProblem
from linnet.recipe import Shape
from linnet.recipe.restore import InpaintPixels


class MissingPixels(DegradationProcess[InpaintPixels]):
    """Pixels at random or a square of them; of a file those that are white in a mask that comes with it."""

    def pose(self, shape: Shape) -> InverseProblem:
        _, height, width = shape
        match self.section.pattern:
            case "random":
                missing = torch.from_numpy(self.rng().random((1, height, width)) < self.section.missing_fraction)
            case "square":
                missing = _central_square(height, width, self.section.missing_fraction)
        return self._masked(missing)

    def pose_file(self, shape: Shape, given: RestorationInput) -> InverseProblem:
        if given.mask is None:
            raise RestorationError(
                "inpaint_pixels needs --mask: an image of the same size, white where pixels are missing"
            )
        missing = read_pixels(given.mask)[..., 0] > 127
        if missing.shape[1:] != shape[1:]:
            raise RestorationError(f"{given.mask} and {given.file} differ in size")
        return self._masked(missing)

    def observe_file(self, problem: InverseProblem, x: Tensor) -> Tensor:
        return problem.operator.forward(x)  # whatever a file has where the mask is white

    def baseline(self, problem: InverseProblem, y: Tensor) -> Tensor:
        """Known pixels stay; the others get the mean of the known ones around them, in growing circles."""
        observed = self.codec.unstandardize(self.as_example(problem, y))
        known = (~problem.mask).expand_as(observed).to(observed.dtype)
        filled = observed * known
        while not bool(known.all()):
            weight = F.avg_pool2d(known, 3, stride=1, padding=1)
            mean = F.avg_pool2d(filled, 3, stride=1, padding=1) / weight.clamp(min=1e-12)
            reached = (known == 0) & (weight > 0)
            filled = torch.where(reached, mean, filled)
            known = torch.where(reached, torch.ones_like(known), known)
        return filled

    def _masked(self, missing: Tensor) -> InverseProblem:
        missing = missing.to(self.device)
        return self.problem(Mask(~missing), mask=missing)


def _central_square(height: int, width: int, fraction: float) -> Tensor:
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    tall, wide = (round(side * math.sqrt(fraction)) for side in (height, width))
    top, left = (height - tall) // 2, (width - wide) // 2
    mask[:, top : top + tall, left : left + wide] = True
    return mask
