"""Where a network runs."""

import os
from collections.abc import Iterator

import pytest
import torch

from linnet.models.device import DeviceError, pick_device, set_gpu_arithmetic, use_deterministic_kernels

CPU = torch.device("cpu")


@pytest.fixture
def _any_kernel_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_any_kernel_afterwards")
def test_deterministic_kernels_stay_when_a_process_sets_its_gpu_up() -> None:
    use_deterministic_kernels()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled()
    set_gpu_arithmetic()
    assert not torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(False)
    set_gpu_arithmetic()
    assert torch.backends.cudnn.benchmark


def test_pick_device() -> None:
    assert pick_device("cpu") == CPU
    if torch.cuda.is_available():
        assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    else:
        assert pick_device("auto") == CPU
        with pytest.raises(DeviceError, match="--device cuda: torch sees no GPU here; use --device cpu"):
            pick_device("cuda")
