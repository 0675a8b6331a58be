"""An exponential moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """A copy of `network` whose weights are averaged; floating-point buffers (batch norm statistics) are averaged too.

    The decay of a step is min(decay, (1 + step) / (10 + step)), so that early averages forget the random start. The
    weights of either network become views of one array each, so that an update is one pass over memory.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._average, self._newest = _share_memory(self.network), _share_memory(network)

    def weight(self, step: int) -> float:
        """The share of the newest weights in the average after optimizer step `step` (counted from 0)."""
        return 1 - min(self._decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, weight: Tensor) -> None:
        """Take in the network's weights with this share (a scalar on their device); 0 changes nothing."""
        self._average.lerp_(self._newest, weight)


ALIGNMENT = 64  # bytes, the width of the widest vector registers and more than what cuBLAS asks for


def _share_memory(network: nn.Module) -> Tensor:
    """Move all floating-point parameters and buffers of `network` into one array, and return it."""
    tensors = [tensor for tensor in [*network.parameters(), *network.buffers()] if tensor.is_floating_point()]
    first = tensors[0]
    assert all(tensor.dtype == first.dtype and tensor.device == first.device for tensor in tensors)
    step = ALIGNMENT // first.element_size()
    sizes = [-(-tensor.numel() // step) * step for tensor in tensors]
    shared = torch.zeros(sum(sizes), dtype=first.dtype, device=first.device)
    for tensor, part in zip(tensors, torch.split(shared, sizes), strict=True):
        view = part[: tensor.numel()].as_strided(tensor.shape, tensor.stride(), part.storage_offset())
        tensor.data = view.copy_(tensor.detach())
    return shared
