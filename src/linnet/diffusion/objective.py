"""What the network predicts and how its error is counted.

With signal rate a = sqrt(alpha_bar) and noise rate s = sqrt(1 - alpha_bar): x_t = a x_0 + s eps and v = a eps - s x_0
(Salimans & Ho 2022). Any one of x_0, eps, v gives the others.
"""

from typing import Literal, assert_never

import torch.nn.functional as F
from torch import Tensor

Prediction = Literal["epsilon", "x0", "v"]
Loss = Literal["mse", "mae"]


def diffuse(x0: Tensor, noise: Tensor, signal_rate: Tensor, noise_rate: Tensor) -> Tensor:
    """x_t, the noisy image (Ho et al. 2020, eq. 4)."""
    return signal_rate * x0 + noise_rate * noise


def target(prediction: Prediction, x0: Tensor, noise: Tensor, signal_rate: Tensor, noise_rate: Tensor) -> Tensor:
    """What the network should answer."""
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
    prediction: Prediction, answer: Tensor, x_t: Tensor, signal_rate: Tensor, noise_rate: Tensor
) -> Tensor:
    """The clean image that the network's answer implies."""
    match prediction:
        case "epsilon":
            return (x_t - noise_rate * answer) / signal_rate
        case "x0":
            return answer
        case "v":
            return signal_rate * x_t - noise_rate * answer
        case _:
            assert_never(prediction)


def loss(kind: Loss, answer: Tensor, wanted: Tensor) -> Tensor:
    """Mean over all elements, in float32."""
    match kind:
        case "mse":
            return F.mse_loss(answer.float(), wanted)
        case "mae":
            return F.l1_loss(answer.float(), wanted)
        case _:
            assert_never(kind)
