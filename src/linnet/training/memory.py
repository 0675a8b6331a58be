"""The memory of a training step, from steps of one and two examples; and what to do where a batch is too large."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from linnet.memory import in_words
from linnet.models.build import build_network
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.memory import BatchMemory, LiveBytes, explains_memory, where
from linnet.models.precision import resolve_precision
from linnet.recipe import CompactUNet, TrainingRecipe
from linnet.training.distributed import DistributedContext
from linnet.training.rehearsal import random_objective
from linnet.training.step import Batch

GRADIENTS, ALL_COPIES = 1, 5  # of the weights: gradients; with themselves, their averages and Adam's two moments


def step_memory(recipe: TrainingRecipe, device: torch.device, *, copies: int) -> BatchMemory:
    """What a training process takes for its rows of a batch, with so many copies of the weights."""
    with torch.device(_counted_on(recipe, device)):
        network = build_network(recipe).train()
    weights = sum(parameter.nbytes for parameter in network.parameters())
    (batch_of_1, forward_of_1), (batch_of_2, forward_of_2) = (
        _example_bytes(recipe, network, device, count) for count in (1, 2)
    )
    return BatchMemory.on(
        device,
        fixed=copies * weights,
        per_example=batch_of_2 - batch_of_1,
        per_example_of_pass=forward_of_2 - forward_of_1,
    )


def _counted_on(recipe: TrainingRecipe, device: torch.device) -> torch.device:
    """In fp32 a CPU needs not compute what is only counted; elsewhere the device decides what tensors are made."""
    is_fp32 = resolve_precision(recipe.train.precision, device) == "fp32"
    return torch.device("meta") if device.type == "cpu" and is_fp32 else device


def _example_bytes(
    recipe: TrainingRecipe, network: DenoisingNetwork, device: torch.device, count: int
) -> tuple[int, int]:
    """Of a batch of `count`, and of the forward pass over it, whose tensors wait for the backward pass."""
    section = recipe.train.model_copy(update={"batch_size": count})
    recipe = recipe.model_copy(update={"train": section})
    objective = random_objective(recipe, network, DistributedContext.single_process(device), num_examples=count)
    with LiveBytes() as drawing:
        batch = objective.batch(0)
    place = next(network.parameters()).device
    batch = Batch(*(None if tensor is None else tensor.to(place) for tensor in batch))  # type: ignore[arg-type]
    with LiveBytes() as computing:
        loss = objective.loss(network, batch)
    assert loss.requires_grad, "what is kept for the backward pass is counted until here"
    return drawing.peak, computing.peak


@contextmanager
def explains_batch_memory(
    recipe: TrainingRecipe, distributed: DistributedContext, *, passes: int = 1
) -> Iterator[None]:
    """Around the steps of a training that is ready for them: a batch that does not fit ends in a sentence.

    Raises:
        BatchMemoryError: it does not.
    """
    device, ranks = distributed.device, distributed.world_size

    def explain(free: int, reason: str) -> str:
        return explain_batch(
            recipe, step_memory(recipe, device, copies=GRADIENTS), free, device, ranks=ranks, passes=passes
        )

    with explains_memory(device, explain):
        yield


def describe_batch(recipe: TrainingRecipe, device: torch.device, free: int, *, ranks: int, passes: int) -> str:
    """Whether the batch of a training fits into `free` bytes before it begins, and what to do."""
    memory = step_memory(recipe, device, copies=ALL_COPIES)
    size = recipe.train.batch_size
    if memory.largest(_of_rank(free, device, ranks), passes) * ranks < size:
        return explain_batch(recipe, memory, free, device, ranks=ranks, passes=passes)
    return (
        f"By estimate train.batch_size = {size} fits: {in_words(free)} were free when the training began. Look what "
        "else takes memory, or who killed it (dmesg), and repeat the command to go on"
    )


def explain_batch(
    recipe: TrainingRecipe, memory: BatchMemory, free: int, device: torch.device, *, ranks: int, passes: int
) -> str:
    """The sentence for a batch that does not fit: its size, what fits by estimate, and the keys that decide."""
    size = recipe.train.batch_size
    share = -(-size // ranks)
    largest = memory.largest(_of_rank(free, device, ranks), passes) * ranks
    taken = memory.of(share, passes) * (ranks if device.type == "cpu" else 1)
    start = (
        f"train.batch_size = {size} does not fit into the memory of {where(device)}: {in_words(free)} were free, and "
        f"a step of it takes about {in_words(taken)}"
    )
    if not largest:
        return f"{start}; not even one example fits. Take a smaller [model], or a machine with more memory"
    remedies = [f"--set train.batch_size={min(largest, size - 1)} (the largest that fits by estimate)"]
    fewest = memory.fewest_passes(share, _of_rank(free, device, ranks))
    if fewest is not None and fewest > passes and not _has_batch_norm(recipe):
        remedies.append(f"`linnet train --passes {fewest}`, which takes the same batch in parts")
    if ranks > 1:
        remedies.append(f"fewer --processes than {ranks}")
    return f"{start}. What to do: {', or '.join(remedies)}"


def _of_rank(free: int, device: torch.device, ranks: int) -> int:
    return free // ranks if device.type == "cpu" else free  # ranks of a CPU share its memory


def _has_batch_norm(recipe: TrainingRecipe) -> bool:
    return isinstance(recipe.model, CompactUNet) and recipe.model.noise_injection == "input"
