"""Mixed precision: the numbers in which a network computes, whatever the precision of its weights."""

import torch

from linnet.recipe import Precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network computes on `device`; "fp32" switches autocasting off."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
