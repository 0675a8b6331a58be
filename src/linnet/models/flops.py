"""How many operations a network takes, and how many this machine can do."""

import time

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from linnet.models.build import build_network
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

PEAK_SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices that are multiplied to find a device's peak
PEAK_TRIES = 10


def count_flops(recipe: TrainingRecipe) -> tuple[int, int]:
    """(forward, forward and backward) of one example, by torch's counter on tensors without memory.

    Multiplications and additions are counted apart; norms and activations, which do few, are not.
    """
    network = meta_network(recipe)
    x = torch.empty(1, *recipe.data.shape, device="meta")
    noise_level = torch.empty(1, device="meta")
    with FlopCounterMode(display=False) as counter:
        output = network(x, noise_level, _meta_condition(recipe.conditioning))
        forward = counter.get_total_flops()
        output.sum().backward()
    return forward, counter.get_total_flops()


def meta_network(recipe: TrainingRecipe) -> torch.nn.Module:
    """The network of `recipe` on tensors without memory."""
    with torch.device("meta"):
        return build_network(recipe)


def _meta_condition(conditioning: Conditioning) -> Tensor | None:
    """A condition of one example in the shape that the network takes, without memory."""
    match conditioning:
        case Unconditional():
            return None
        case ClassLabel():
            return torch.empty(1, dtype=torch.int64, device="meta")
        case MultiLabel(num_labels=num_labels):
            return torch.empty(1, num_labels, device="meta")
        case Text(encoder=TrainedTextEncoder(max_words=words)):
            return torch.empty(1, words, NGRAMS_PER_WORD, dtype=torch.int64, device="meta")
        case Text(encoder=HuggingFaceTextEncoder(width=width)):
            return torch.empty(1, width, device="meta")
        case _:
            raise AssertionError(conditioning)


def matmul_peak(device: torch.device, precision: ResolvedPrecision) -> float:
    """FLOP/s of the fastest of some large matrix products on `device`, with the threads of this process."""
    side = PEAK_SIDE[device.type]
    a = torch.ones(side, side, device=device, dtype=DTYPES[precision])
    fastest = float("inf")
    for _ in range(PEAK_TRIES):
        started = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * side**3 / fastest
