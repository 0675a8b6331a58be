"""The bytes of tensors while they live, and batches that fit into them."""

import pytest
import torch

from linnet.models.memory import BatchMemory, BatchMemoryError, LiveBytes, explains_memory

CPU = torch.device("cpu")
MEMORY = BatchMemory(fixed=100, per_example=10, per_example_of_pass=90)


def test_living_tensors_are_counted_once_and_only_while_they_live() -> None:
    x = torch.zeros(1000)
    with LiveBytes() as live:
        y = x + 1
        view = y.view(10, 100)
        y.mul_(2)
        assert live.now == 4000
        z = torch.cat([y, y])
        assert live.now == 12_000
        del y, z
        assert live.now == 4000
        del view
    assert (live.now, live.peak) == (0, 12_000)


def test_what_waits_for_the_backward_pass_lives() -> None:
    layers = torch.nn.Sequential(*(torch.nn.Linear(100, 100, bias=False) for _ in range(3)))
    with LiveBytes() as live:
        loss = layers(torch.zeros(7, 100)).sum()
    assert live.now == 3 * 7 * 100 * 4 + 4  # the inputs of three layers, and the loss
    assert loss.requires_grad
    with LiveBytes() as without, torch.inference_mode():
        layers(torch.zeros(7, 100)).sum()
    assert without.peak < live.peak


def test_the_largest_batch_and_the_fewest_passes_solve_the_same_line() -> None:
    assert MEMORY.of(8) == 100 + 8 * 100
    assert MEMORY.of(8, 2) == 100 + 8 * 10 + 4 * 90
    assert MEMORY.largest(900) == 8
    assert MEMORY.largest(899) == 7
    assert MEMORY.largest(99) == 0
    assert MEMORY.fewest_passes(8, 540) == 2
    assert MEMORY.fewest_passes(8, 539) == 4
    assert MEMORY.fewest_passes(8, 269) is None  # one example at a time: 100 + 80 + 90
    assert MEMORY.fewest_passes(4_000_000_000, 10**6) is None, "in no time"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), OSError(12, "Cannot allocate")])
def test_memory_that_runs_out_is_explained(error: Exception) -> None:
    with pytest.raises(BatchMemoryError, match="lower it"), explains_memory(CPU, lambda free, reason: "lower it"):
        raise error


def test_where_not_even_the_explanation_fits_that_is_said() -> None:
    def explain(free: int, reason: str) -> str:
        raise MemoryError

    with pytest.raises(BatchMemoryError, match="not even one example fits"), explains_memory(CPU, explain):
        raise MemoryError


@pytest.mark.parametrize("bug", [RuntimeError("shapes differ"), OSError(2, "No such file")])
def test_other_errors_stay_what_they_are(bug: Exception) -> None:
    with pytest.raises(type(bug)) as raised, explains_memory(CPU, lambda free, reason: "never"):
        raise bug
    assert raised.value is bug
