"""An exponential moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """A copy of `network` whose weights are averaged; floating-point buffers (batch norm statistics) are averaged too.

    The decay of a step is min(decay, (1 + step) / (10 + step)), so that early averages forget the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._averages = _floating_point_tensors(self.network)
        self._newest = _floating_point_tensors(network)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's weights after optimizer step `step` (counted from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._newest, 1 - decay)


def _floating_point_tensors(network: nn.Module) -> list[Tensor]:
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
