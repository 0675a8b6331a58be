"""Where a network runs."""

import os

import torch

from linnet.errors import LinnetError
from linnet.memory import keep_freed_memory, limit_to_available
from linnet.models.denoising_network import DenoisingNetwork


class DeviceError(LinnetError):
    """The device asked for is not there."""


def pick_device(name: str) -> torch.device:
    """`auto` (the GPU where there is one), `cpu` or `cuda`. Raises DeviceError."""
    match name:
        case "cuda" if not torch.cuda.is_available():
            raise DeviceError(
                "--device cuda: torch sees no GPU here; use --device cpu or check the driver with nvidia-smi"
            )
        case "auto" | "cpu" | "cuda":
            device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
            set_up(device)
            return device
        case _:
            raise DeviceError(f"--device {name}: give auto, cpu or cuda")


def set_up(device: torch.device) -> None:
    """Set what every process that computes on `device` must set for itself.

    On a GPU fp32 means IEEE float32: torch would otherwise round convolutions to TF32, and scores with them. Shapes do
    not change in a run, so cuDNN may try its algorithms out.
    """
    if device.type == "cpu":
        keep_freed_memory()
        limit_to_available()
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()


def use_deterministic_kernels() -> None:
    """Let this process use only kernels that give the same bits again on the same kind of GPU; call it first.

    cuBLAS sums in an order that depends on streams unless its workspace is fixed, and cuDNN's fastest algorithm differs
    from run to run (https://docs.pytorch.org/docs/stable/notes/randomness.html).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def memory_format(device: torch.device) -> torch.memory_format:
    """How images lie in memory on `device`: channels last is what tensor cores take."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def to_device(network: DenoisingNetwork, device: torch.device) -> DenoisingNetwork:
    """The network on `device`, its convolutions laid out as `memory_format` says."""
    return network.to(device).to(memory_format=memory_format(device))  # type: ignore[no-any-return, call-overload]
