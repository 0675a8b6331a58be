"""Mixed precision."""

import torch

from linnet.recipe import Precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which the network computes."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
