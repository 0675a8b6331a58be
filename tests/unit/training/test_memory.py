"""The memory of training steps is a line in the size of the batch, and a batch beyond it ends in a sentence."""

import pytest
import torch

from linnet.models.build import build_network
from linnet.models.memory import OVERHEAD, BatchMemory, BatchMemoryError, LiveBytes
from linnet.recipe import TrainingRecipe
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER
from linnet.training.memory import (
    ALL_COPIES,
    GRADIENTS,
    describe_batch,
    explain_batch,
    explains_batch_memory,
    step_memory,
)
from linnet.training.rehearsal import rehearse
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
MEMORY = BatchMemory(fixed=1000, per_example=10, per_example_of_pass=90)


def recipe_of(batch_size: int) -> TrainingRecipe:
    recipe = tiny_recipe().training()
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": batch_size})})


def test_the_estimate_from_one_and_two_examples_is_the_peak_of_sixteen() -> None:
    memory = step_memory(recipe_of(1), CPU, copies=GRADIENTS)
    step = rehearse(recipe_of(16), DistributedContext.single_process(CPU), EAGER)
    with LiveBytes() as live:
        step()
    of_examples = 16 * (memory.per_example + memory.per_example_of_pass) / OVERHEAD["cpu"]
    assert memory.fixed == sum(parameter.nbytes for parameter in build_network(recipe_of(1)).parameters())
    assert of_examples + memory.fixed == pytest.approx(live.peak, rel=0.1)


def test_a_batch_that_does_not_fit_names_key_size_what_fits_and_the_remedies() -> None:
    said = explain_batch(recipe_of(64), MEMORY, 3 << 20, CPU, ranks=1, passes=1)
    assert said.startswith("train.batch_size = 64 does not fit into the memory of this machine: 3 MiB were free")
    said = explain_batch(recipe_of(64), MEMORY, 3400, CPU, ranks=1, passes=1)
    assert "--set train.batch_size=24 (the largest that fits by estimate)" in said  # 1000 + 24 * 100
    assert "--passes 4`" in said  # 1000 + 640 + 16 * 90 = 3080; in two parts 4520
    said = explain_batch(recipe_of(64), MEMORY, 5000, CPU, ranks=2, passes=1)
    assert "--set train.batch_size=30" in said  # each rank has half of the memory: 1000 + 15 * 100
    assert "fewer --processes than 2" in said
    assert "not even one example" in explain_batch(recipe_of(64), MEMORY, 1000, CPU, ranks=1, passes=1)


def test_steps_that_run_out_of_memory_say_it() -> None:
    distributed = DistributedContext.single_process(CPU)
    with (
        pytest.raises(BatchMemoryError, match=r"train.batch_size = 64 does not"),
        explains_batch_memory(recipe_of(64), distributed),
    ):
        torch.ones(2**60)


def test_who_was_killed_though_the_batch_fits_is_told_so() -> None:
    assert "By estimate train.batch_size = 4 fits" in describe_batch(recipe_of(4), CPU, 1 << 33, ranks=2, passes=1)
    assert "does not fit" in describe_batch(recipe_of(4), CPU, 1 << 16, ranks=2, passes=1)
    assert step_memory(recipe_of(4), CPU, copies=ALL_COPIES).fixed % ALL_COPIES == 0
