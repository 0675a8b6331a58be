"""What people look at and listen to, written to a disk that may be full."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linnet.modalities.write import encode_example
from linnet.recipe import DataSection
from support.audio_section import AUDIO
from support.tiny import tiny_recipe


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full disk")
@pytest.mark.parametrize(
    ("example", "data"),
    [
        (np.arange(20_000, dtype=np.int16) ** 2, AUDIO),
        (np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), tiny_recipe().data),
    ],
    ids=["audio", "image"],
)
def test_a_full_disk_is_named_as_such(example: NDArray[Any], data: DataSection) -> None:
    """soundfile itself would turn the system's error into another one."""
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left") as caught:
        encode_example(full, example, data)
    assert caught.value.errno == errno.ENOSPC
