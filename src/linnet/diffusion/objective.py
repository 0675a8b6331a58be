"""The prediction of the network, its target and its loss.

With signal rate a = sqrt(alpha_bar) and noise rate s = sqrt(1 - alpha_bar), x_t = a x_0 + s eps and v = a eps - s x_0
(Salimans & Ho 2022). Given x_t, each of x_0, eps and v gives the other two.
"""

from typing import Literal, assert_never

import torch.nn.functional as F
from torch import Tensor

Prediction = Literal["epsilon", "x0", "v"]
Loss = Literal["mse", "mae"]


def diffuse(x0: Tensor, noise: Tensor, signal_rate: Tensor, noise_rate: Tensor) -> Tensor:
    """x_t, the noisy example (Ho et al. 2020, eq. 4)."""
    return signal_rate * x0 + noise_rate * noise


def target(prediction: Prediction, x0: Tensor, noise: Tensor, signal_rate: Tensor, noise_rate: Tensor) -> Tensor:
    """What the network should output."""
    match prediction:
        case "epsilon":
            return noise
        case "x0":
            return x0
        case "v":
            return signal_rate * noise - noise_rate * x0
        case _:
            assert_never(prediction)


def predicted_x0(
    prediction: Prediction, output: Tensor, x_t: Tensor, signal_rate: Tensor, noise_rate: Tensor
) -> Tensor:
    """The clean example that the network's output implies."""
    match prediction:
        case "epsilon":
            return (x_t - noise_rate * output) / signal_rate
        case "x0":
            return output
        case "v":
            return signal_rate * x_t - noise_rate * output
        case _:
            assert_never(prediction)


def loss(kind: Loss, output: Tensor, target: Tensor) -> Tensor:
    """The mean error over all elements, in float32."""
    match kind:
        case "mse":
            return F.mse_loss(output.float(), target)
        case "mae":
            return F.l1_loss(output.float(), target)
        case _:
            assert_never(kind)
