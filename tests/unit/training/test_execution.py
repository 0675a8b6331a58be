import pytest
import torch

from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER, Execution, choose_execution

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("num_steps", "distributed", "expected"),
    [
        (10**6, DistributedContext(0, 1, CPU), EAGER),
        (100, DistributedContext(0, 1, CUDA), Execution(compiled=False, graphed=True)),
        (10**6, DistributedContext(0, 1, CUDA), Execution(compiled=True, graphed=True)),
        (10**6, DistributedContext(0, 8, CUDA), Execution(compiled=True, graphed=False)),  # DDP's hooks are no graph
    ],
)
def test_what_is_done_to_a_step(num_steps: int, distributed: DistributedContext, expected: Execution) -> None:
    assert choose_execution(num_steps, distributed) == expected


def test_a_step_of_several_passes_is_no_graph() -> None:
    """Generators are restarted between passes."""
    found = choose_execution(100, DistributedContext(0, 1, CUDA), passes=2)
    assert found == Execution(compiled=False, graphed=False, passes=2)
