"""What every denoising network has in common: how noisy its input is, in which measure, and what shape it returns."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from linnet.recipe import NoiseLevel


class DenoisingNetwork(nn.Module, ABC):
    """Predicts the noise, the clean example or the velocity, as the recipe's [diffusion] prediction says.

    A subclass is built as `Network(settings, shape=(channels, height, width), conditioning=section)` in build.py, where
    `settings` is its class in recipe/model.py, and `shape` is the shape of a training example.
    """

    @property
    @abstractmethod
    def noise_level(self) -> NoiseLevel:
        """The measure of noise that `forward` takes; a class attribute of every network."""

    @abstractmethod
    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        """The prediction, float [B, C, H, W] like `x_t`.

        Args:
            x_t: noisy examples, float [B, C, H, W].
            noise_level: how noisy each example is, float32 [B], in the measure that `self.noise_level` names.
            condition: a tensor of B rows, as conditioning.py makes it; None stands for B null conditions.
        """
