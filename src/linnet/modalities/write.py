"""Decoded examples as files: PNG for images, FLAC for audio."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import soundfile
from numpy.typing import NDArray
from PIL import Image

from linnet.recipe import Audio, DataSection


def write_example(path: Path, example: NDArray[Any], data: DataSection) -> str:
    """One decoded example as `path` with the right ending; returns its name."""
    path = path.with_name(path.name + (".flac" if isinstance(data, Audio) else ".png"))
    with path.open("wb") as file:
        encode_example(file, example, data)
    return path.name


def encode_example(file: BinaryIO, example: NDArray[Any], data: DataSection) -> None:
    """One decoded example as PNG or FLAC."""
    stream = io.BytesIO()  # soundfile would hide what a full disk says
    if isinstance(data, Audio):
        soundfile.write(stream, example, data.sample_rate_hz, format="FLAC", subtype="PCM_16")
    else:
        Image.fromarray(example).save(stream, format="PNG")
    file.write(stream.getvalue())
