"""Where a network runs."""

import os
import platform
import resource
from collections.abc import Iterator

import pytest
import torch

from linnet.models.device import DeviceError, pick_device, set_up, use_deterministic_kernels

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


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
    set_up(CUDA)
    assert not torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(False)
    set_up(CUDA)
    assert torch.backends.cudnn.benchmark


def test_pick_device() -> None:
    assert pick_device("cpu") == CPU
    if torch.cuda.is_available():
        assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    else:
        assert pick_device("auto") == CPU
        with pytest.raises(DeviceError, match="--device cuda: torch sees no GPU here; use --device cpu"):
            pick_device("cuda")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep their own counsel")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    """160 MiB in forty arrays, as a training step takes and frees them: 40,960 pages."""
    set_up(CPU)
    for _ in range(2):
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [torch.ones(1 << 20) for _ in range(40)]
        del arrays
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults < 10_000
