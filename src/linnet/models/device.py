"""Where a network runs."""

import torch

from linnet.errors import LinnetError
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
            return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
        case _:
            raise DeviceError(f"--device {name}: give auto, cpu or cuda")


def to_device(network: DenoisingNetwork, device: torch.device) -> DenoisingNetwork:
    """The network on `device`, its convolutions laid out channels last (faster on CPUs and on tensor cores)."""
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
