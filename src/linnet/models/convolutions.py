"""Convolutions that a CPU computes in another way than torch would: the same numbers but for rounding, in less time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_POSITIONS = 1024  # for which a product of matrices wins over a 1 x 1 convolution; docs/performance.md


class PointwiseConv(nn.Conv2d):
    """A 1 x 1 convolution: [B, in_channels, H, W] -> [B, out_channels, H, W].

    On CPUs in 16 bits large maps are multiplied as the matrices [in_channels, H W] that they are: the convolution would
    rearrange them before and after.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        is_multiplied = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not is_multiplied or height * width < LEAST_POSITIONS:
            return super().forward(x)
        assert self.bias is not None, "as made above"
        weight = self.weight.flatten(1).expand(batch, -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).reshape(batch, -1, height, width)


class DoublingConv(nn.Conv2d):
    """A 3 x 3 convolution of x with each pixel repeated: [B, in_channels, H, W] -> [B, out_channels, 2 H, 2 W].

    A window of three repeated pixels holds two different ones, so each of the four parities of rows and columns is a
    2 x 2 convolution of x itself whose weights are sums of the nine (the sub-pixel convolution of Shi et al. 2016): 4
    multiplications instead of 9. CPUs compute it so; GPUs repeat and convolve.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))
        assert self.bias is not None, "as made above"
        batch, _, height, width = x.shape
        kernels = _of_parities(_of_parities(self.weight, 2), 4).flatten(0, 2)  # [2 2 out_channels, in_channels, 2, 2]
        found = F.conv2d(x, kernels, self.bias.repeat(4), padding=1)
        found = found.reshape(batch, 2, 2, -1, height + 1, width + 1)
        rows = [
            torch.stack(
                [found[:, column, row, :, row : row + height, column : column + width] for column in (0, 1)], -1
            )
            for row in (0, 1)  # parities
        ]
        return torch.stack(rows, dim=3).flatten(4, 5).flatten(2, 3)


def _of_parities(kernel: Tensor, dim: int) -> Tensor:
    """Of a kernel with three taps along `dim`, the two taps that meet different pixels: [2, ...], even place first."""
    before, here, after = kernel.unbind(dim)
    even, odd = torch.stack([before, here + after], dim), torch.stack([before + here, after], dim)
    return torch.stack([even, odd])
