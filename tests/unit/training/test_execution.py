import sysconfig
from pathlib import Path

import pytest
import torch

from linnet.training import execution
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER, Execution, choose_execution

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("num_steps", "distributed", "expected"),
    [
        (9_999, DistributedContext(0, 2, CPU), EAGER),
        (10_000, DistributedContext(0, 2, CPU), Execution(compiled=True, graphed=False)),
        (100, DistributedContext(0, 1, CUDA), Execution(compiled=False, graphed=True)),
        (10**6, DistributedContext(0, 1, CUDA), Execution(compiled=True, graphed=True)),
        (10**6, DistributedContext(0, 8, CUDA), Execution(compiled=True, graphed=False)),  # DDP's hooks are no graph
    ],
)
def test_what_is_done_to_a_step(
    monkeypatch: pytest.MonkeyPatch, num_steps: int, distributed: DistributedContext, expected: Execution
) -> None:
    monkeypatch.setattr(execution, "has_compiler", lambda: True)
    assert choose_execution(num_steps, distributed) == expected


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_a_cpu_without_a_compiler_takes_long_runs_eagerly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    compiler, headers = tmp_path / "c++", tmp_path / "Python.h"
    compiler.touch(mode=0o755)
    headers.touch()
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert choose_execution(10**6, DistributedContext(0, 1, CPU)).compiled
    (compiler if missing == "compiler" else headers).unlink()
    assert choose_execution(10**6, DistributedContext(0, 1, CPU)) == EAGER


def test_a_step_of_several_passes_is_no_graph() -> None:
    """Generators are restarted between passes."""
    found = choose_execution(100, DistributedContext(0, 1, CUDA), passes=2)
    assert found == Execution(compiled=False, graphed=False, passes=2)
