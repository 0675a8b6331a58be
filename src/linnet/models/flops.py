"""How many operations a network takes, and how many this machine can do."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from linnet.models.blocks import SelfAttention, TokenAttention
from linnet.models.convolutions import DoublingConv, PointwiseConv
from linnet.models.hashed_text_encoder import NGRAMS_PER_WORD
from linnet.models.precision import DTYPES
from linnet.recipe import (
    ClassLabel,
    Conditioning,
    HuggingFaceTextEncoder,
    MultiLabel,
    ResolvedPrecision,
    Text,
    TrainedTextEncoder,
    TrainingRecipe,
    Unconditional,
)

TRAINING_TIMES_FORWARD = 3  # the backward pass takes two: gradients of inputs and of weights (Kaplan et al. 2020)
PEAK_SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices that are multiplied to find a device's peak
PEAK_SECONDS = 0.5  # of products: the fastest of many is not slowed down by what else the machine does meanwhile


def count_flops(network: nn.Module, recipe: TrainingRecipe) -> int:
    """FLOPs of one forward pass of one example, on the network's device, which may be "meta".

    Those of convolutions, linear layers and attention as they are defined, multiplications and additions counted apart;
    norms and activations, which do few, are not, and what convolutions.py saves is not taken off. torch's own counter
    would import torch's compiler, seconds of a short run.
    """
    device = next(network.parameters()).device
    counted: list[int] = []

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        counted.append(_FLOPS[type(layer)](layer, inputs[0], output))

    handles = [layer.register_forward_hook(hook) for layer in network.modules() if type(layer) in _FLOPS]
    was_training = network.training
    try:
        with torch.inference_mode():
            x = torch.zeros(1, *recipe.data.shape, device=device)
            network.eval()(x, torch.full((1,), 0.5, device=device), _condition(recipe.conditioning, device))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return sum(counted)


def _of_convolution(layer: Any, _: Tensor, output: Tensor) -> int:
    return int(2 * output.numel() * layer.in_channels // layer.groups * math.prod(layer.kernel_size))


def _of_transposed_convolution(layer: Any, x: Tensor, _: Tensor) -> int:
    return int(2 * x.numel() * layer.out_channels // layer.groups * math.prod(layer.kernel_size))


def _of_linear(layer: Any, _: Tensor, output: Tensor) -> int:
    return 2 * output.numel() * int(layer.in_features)


def _of_attention_over_positions(layer: Any, x: Tensor, _: Tensor) -> int:
    positions = math.prod(x.shape[2:])
    return 2 * 2 * len(x) * int(layer.heads) * positions**2 * int(layer.head_channels)


def _of_attention_over_tokens(_: Any, x: Tensor, __: Tensor) -> int:
    batch, tokens, width = x.shape
    return 2 * 2 * batch * tokens**2 * width


_FLOPS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], int]] = {  # of the layer itself, not of those in it
    nn.Conv2d: _of_convolution,
    PointwiseConv: _of_convolution,
    DoublingConv: _of_convolution,
    nn.ConvTranspose2d: _of_transposed_convolution,
    nn.Linear: _of_linear,
    SelfAttention: _of_attention_over_positions,
    TokenAttention: _of_attention_over_tokens,
}


def _condition(conditioning: Conditioning, device: torch.device) -> Tensor | None:
    """A condition of one example in the shape that the network takes."""
    match conditioning:
        case Unconditional():
            return None
        case ClassLabel():
            return torch.zeros(1, dtype=torch.int64, device=device)
        case MultiLabel(num_labels=num_labels):
            return torch.zeros(1, num_labels, device=device)
        case Text(encoder=TrainedTextEncoder(max_words=words)):
            return torch.ones(1, words, NGRAMS_PER_WORD, dtype=torch.int64, device=device)
        case Text(encoder=HuggingFaceTextEncoder(width=width)):
            return torch.zeros(1, width, device=device)
        case _:
            raise AssertionError(conditioning)


def matmul_peak(device: torch.device, precision: ResolvedPrecision) -> float:
    """FLOP/s of the fastest of many large matrix products on `device`, with the threads of this process."""
    side = PEAK_SIDE[device.type]
    a = torch.ones(side, side, device=device, dtype=DTYPES[precision])
    seconds: list[float] = []
    while sum(seconds) < PEAK_SECONDS:
        started = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds)
