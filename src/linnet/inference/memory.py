"""The memory of sampling and restoring, known from one and two examples; and what to do where a batch is too large."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from linnet.inference.diffusion_model import DiffusionModel
from linnet.memory import in_words
from linnet.models.memory import BatchMemory, LiveBytes, explains_memory, where
from linnet.models.precision import autocast, resolve_precision
from linnet.recipe import Precision, Unconditional

STATES = 8  # of the whole batch that samplers and solvers hold at once: the state, its noise, predictions, blends


def sampling_memory(model: DiffusionModel, precision: Precision, *, frames: int | None = None) -> BatchMemory:
    """What a step of examples `frames` wide takes beside the weights, without guidance, which takes twice as much."""
    one, two = (_prediction_bytes(model, precision, count) for count in (1, 2))
    channels, height, width = model.recipe.data.shape
    state = torch.float32.itemsize * channels * height * max(frames or width, width)
    return BatchMemory.on(model.device, fixed=0, per_example=STATES * state + two - one)


def _prediction_bytes(model: DiffusionModel, precision: Precision, count: int) -> int:
    conditioning, device = model.recipe.conditioning, model.device
    condition = None if isinstance(conditioning, Unconditional) else model.encoder.null_condition(count)
    x, noise_level = (
        torch.zeros(count, *model.recipe.data.shape, device=device),
        torch.full((count,), 0.5, device=device),
    )
    with torch.inference_mode(), LiveBytes() as live, autocast(device, resolve_precision(precision, device)):
        model.network(x, noise_level, condition)
    return live.peak


@contextmanager
def explains_examples_memory(
    model: DiffusionModel,
    precision: Precision,
    batch_size: int,
    *,
    option: str = "--batch-size",
    frames: int | None = None,
) -> Iterator[None]:
    """Around the making of examples, `batch_size` at once: what does not fit ends in a sentence that says what would.

    Args:
        option: what decides the size of a batch.
        frames: the width of an example, where it is more than that of a training example.

    Raises:
        BatchMemoryError: it does not fit.
    """

    def explain(free: int, reason: str) -> str:
        largest = sampling_memory(model, precision, frames=frames).largest(free)
        start = f"the memory of {where(model.device)} does not suffice ({in_words(free)} were free; {reason})"
        if batch_size == 1 or not largest:
            return f"{start} for one example. Make it shorter or smaller, or take a machine with more memory"
        return (
            f"{start} for {batch_size} examples at once. What to do: {option} {min(largest, batch_size - 1)} "
            "(the largest that fits by estimate), and repeat"
        )

    with explains_memory(model.device, explain):
        yield
