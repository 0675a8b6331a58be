"""Which files of a published data set belong to which split, by the rules of Hugging Face's `datasets` library."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.data.raw import RawDataError

PARQUET, AUDIOFOLDER = "parquet", "audiofolder"  # the library's names


@dataclass(frozen=True)
class Published:
    """What a data set consists of, as far as its file names and its card tell."""

    layout: str  # PARQUET or AUDIOFOLDER
    splits: Mapping[str, tuple[str, ...]]  # relative names, with /
    features: Any  # datasets.Features from README.md, None where it says nothing

    def only(self, split: str) -> "Published":
        """One of its splits, or all with "". Raises RawDataError, which names the splits there are."""
        if split and split not in self.splits:
            raise RawDataError(f"no split {split!r}; there is {', '.join(self.splits)}. Correct it, or leave it out")
        return Published(self.layout, {split: self.splits[split]} if split else self.splits, self.features)


def read_published(folder: Path, *, config: str) -> Published:
    """The splits, files and features of the data set in `folder`; only file names and README.md are read.

    Args:
        config: one of the configurations of README.md, "" for the only one or the default.

    Raises:
        RawDataError: there is no such configuration or no data, or it is neither parquet nor audio files.
    """
    import datasets

    base = folder.resolve()
    try:
        with tempfile.TemporaryDirectory() as locks:  # all that the library keeps there; `folder` may be read-only
            builder = datasets.load_dataset_builder(str(base), name=config or None, cache_dir=locks)
    except (FileNotFoundError, ValueError) as error:  # the library's message has several lines
        raise RawDataError(f"{folder}: {' '.join(str(error).split())[:400]}") from None
    layout = type(builder).__module__.rpartition(".")[2]
    if layout not in (PARQUET, AUDIOFOLDER):
        raise RawDataError(
            f"{folder}: the data is stored as {layout}, only parquet and audio files can be read. Hugging Face keeps "
            "a parquet copy of most data sets: try the revision refs/convert/parquet"
        )
    files = builder.config.data_files or {}
    splits = {
        str(split): tuple(Path(name).relative_to(base).as_posix() for name in names) for split, names in files.items()
    }
    return Published(layout, splits, builder.info.features)
