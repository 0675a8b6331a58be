"""The built-in data sets: what ingest makes where no source is given."""

from pathlib import Path
from typing import Any, assert_never

from linnet.data.raw import RawDataError
from linnet.data.synthetic import birds, music, voices
from linnet.recipe import Audio, DataSection, Images

SYNTHETIC = "synthetic"  # as a --source, and in source.json


def origin_of(data: DataSection) -> dict[str, Any]:
    """What source.json says of the built-in set for a [data] section.

    Raises:
        RawDataError: there is none in the recipe's layout.
    """
    match data:
        case Images():
            if data.layout.kind != birds.LAYOUT:
                raise RawDataError(
                    f"--source {SYNTHETIC}: the built-in images are in the layout {birds.LAYOUT!r}, and the recipe's "
                    f"data.layout is {data.layout.kind!r}; give a folder or an archive, or change data.layout"
                )
            return {"kind": SYNTHETIC, "version": birds.VERSION}
        case Audio():
            version = music.VERSION if data.builtin == "music" else voices.VERSION
            return {"kind": SYNTHETIC, "set": data.builtin, "version": version}
        case _:
            assert_never(data)


def make(data: DataSection, folder: Path) -> None:
    """Write the built-in set into `folder`."""
    match data:
        case Images():
            birds.make_birds(folder)
        case Audio(builtin="music"):
            music.make_music(folder)
        case Audio():
            voices.make_voices(folder)
        case _:
            assert_never(data)
