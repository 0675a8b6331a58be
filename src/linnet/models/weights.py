"""Files of weights: a network's tensors as safetensors."""

import os
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from linnet.errors import first_line
from linnet.files import ArtifactError


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the network's tensors. Raises OSError where the disk does not take them."""
    try:
        save_file({key: value.contiguous().cpu() for key, value in network.state_dict().items()}, path)
    except SafetensorError as reason:  # wraps what the system said in words
        if number := re.search(r"os error (\d+)", str(reason)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise


def load_weights(path: Path, network: nn.Module) -> None:
    """Read what `save_weights` wrote into `network`. Raises ArtifactError if the file is damaged or of another one."""
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as reason:
        raise ArtifactError(f"{path}: cannot be loaded ({first_line(reason)}); train the model again") from None
