"""Where a network runs."""

import pytest
import torch

from linnet.models.device import DeviceError, pick_device

CPU = torch.device("cpu")


def test_pick_device() -> None:
    assert pick_device("cpu") == CPU
    if torch.cuda.is_available():
        assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    else:
        assert pick_device("auto") == CPU
        with pytest.raises(DeviceError, match="--device cuda: torch sees no GPU here; use --device cpu"):
            pick_device("cuda")
