"""Muon: steps whose matrices have been orthogonalized, so that no direction of a weight is learnt last.

Adam's step of a matrix is dominated by few directions. Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon)
replaces the momentum U S V^T by about U V^T, for convolutions as matrices [out, in x kernel]. Embeddings, biases, norms
and layers of few channels stay with AdamW, at the same rate: steps are scaled to the size that AdamW's have (Liu et al.
2025, arXiv 2502.16982, section 2.2).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from linnet.recipe import AdamW
from linnet.recipe import Muon as MuonSection
from linnet.training.adam import Adam

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: singular values from 0.002 on end in 0.7 to 1.2
ITERATIONS = 5
ADAM_SIZE = 0.2  # root mean square of AdamW's steps at a rate of 1 (Liu et al. 2025)
SMALLEST_SIDE = 8  # of a matrix that is worth the name: in a layer of 3 channels all directions are learnt anyway
EPS = 1e-7  # of the Frobenius norm: a gradient of zeros stays one


class Muon:
    """Muon for the weights of linear layers and convolutions of `network`, AdamW for the rest, in place.

    Args:
        network: its parameters that need gradients are float32, on one device.
        learning_rate: a scalar on that device, read in each step.
    """

    def __init__(self, network: nn.Module, section: MuonSection, learning_rate: Tensor) -> None:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        hidden = {id(layer.weight) for layer in network.modules() if _has_matrix(layer)}
        self._parameters, self._section, self._learning_rate = parameters, section, learning_rate
        self._groups: dict[tuple[int, int], list[int]] = {}  # of equal shape, which one call orthogonalizes
        for index, parameter in enumerate(parameters):
            if id(parameter) in hidden:
                self._groups.setdefault((len(parameter), parameter[0].numel()), []).append(index)
        self.moments = [
            torch.zeros(len(group), rows, columns, device=learning_rate.device)
            for (rows, columns), group in self._groups.items()
        ]
        self._others = [index for index, parameter in enumerate(parameters) if id(parameter) not in hidden]
        adamw = AdamW(kind="adamw", beta1=section.beta1, beta2=section.beta2, weight_decay=section.weight_decay)
        self._adam = Adam([parameters[index] for index in self._others], adamw, learning_rate)

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], *, divisor: Tensor, skip: Tensor) -> None:
        """Take a step with `gradients / divisor`; none where the scalar `skip` is 1."""
        self._adam.update([gradients[index] for index in self._others], divisor=divisor, skip=skip)
        taken, momentum = 1 - skip, self._section.momentum
        rate = self._learning_rate * taken
        for ((rows, columns), group), moments in zip(self._groups.items(), self.moments, strict=True):
            stacked = torch.stack([gradients[index].reshape(rows, columns) for index in group]) / divisor
            stacked = torch.where(taken > 0, stacked, 0.0)  # of a step that is skipped they may be infinite
            moments.lerp_(stacked, (1 - momentum) * taken)
            steps = orthogonalize(stacked.lerp(moments, momentum))  # Nesterov's momentum
            steps *= -rate * ADAM_SIZE * math.sqrt(max(rows, columns))
            weights: list[Tensor] = [self._parameters[index] for index in group]
            torch._foreach_mul_(weights, 1 - rate * self._section.weight_decay)
            torch._foreach_add_(weights, [step.view_as(weight) for step, weight in zip(steps, weights, strict=True)])

    def state_dict(self) -> dict[str, Any]:
        """Tensors that continue the run."""
        return {"moments": self.moments, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved."""
        for kept, saved in zip(self.moments, state["moments"], strict=True):
            kept.copy_(saved)
        self._adam.load_state_dict(state["adam"])


def orthogonalize(matrices: Tensor) -> Tensor:
    """About U V^T for each U S V^T of `matrices`, float32 [N, rows, columns]: singular values of 0.7 to 1.2.

    Newton and Schulz's iteration X <- a X + b (X X^T) X + c (X X^T)^2 X. Every iterate is a polynomial in the first
    X X^T times the first X: the small matrices X X^T and that polynomial are iterated, and X is multiplied once, at the
    end. For 128 x 1152 that takes 0.4 of the multiplications.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    wide: Tensor = matrices.mT if is_tall else matrices
    x: Tensor = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + EPS)
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], device=gram.device)
    product = factor = a * identity + b * gram + c * (gram @ gram)
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
    x = product @ x
    return x.mT if is_tall else x


def _has_matrix(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Linear | _ConvNd) or getattr(layer, "groups", 1) > 1:
        return False
    return layer.weight.requires_grad and min(len(layer.weight), layer.weight[0].numel()) >= SMALLEST_SIDE
