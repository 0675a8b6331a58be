"""What ingest and preprocess need to know of a layout: how the files of a raw data set lie in their folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linnet.artifacts import Raw
from linnet.data.raw import RawDataError
from linnet.data.sources.archive import unpack
from linnet.files import copy_folder
from linnet.progress import log
from linnet.walk import examples

UNPACKED = ".unpacked"  # below the raw folder, while an archive is converted
SplitName = Literal["", "train", "test"]  # "" where the data set does not say


class LayoutReader(ABC):
    """One layout. Methods raise RawDataError for folders that are not in it; the message says what to do."""

    @property
    def settings(self) -> Mapping[str, str]:
        """The recipe's settings that change how the raw folder is written: a folder made with others is outdated."""
        return {}

    @abstractmethod
    def verify(self, raw: Path) -> None:
        """Raise RawDataError unless `raw` is in this layout."""

    def check(self, source: Path) -> None:
        """Raise RawDataError if `copy` could make nothing of the folder `source`, as far as names and indices tell."""
        self.verify(source)

    def copy(self, source: Path, raw: Path) -> None:
        """Write what the folder `source` holds into the empty folder `raw`, in this layout."""
        copy_source(source, raw)

    def unpack(self, archive: Path, raw: Path, *, advance: Callable[[int], None]) -> None:
        """Write what an archive holds into the empty folder `raw`, in this layout.

        Args:
            advance: called with 1 after each member of the archive.

        Raises:
            ArchiveError: the archive is damaged or hostile.
        """
        unpack(archive, raw, advance=advance)

    @abstractmethod
    def describe(self, raw: Path) -> list[str]:
        """Lines for people: what `raw` holds, and what is odd about it."""


def copy_source(source: Path, raw: Path, *, leave_out: Iterable[str] = ()) -> None:
    """Copy all files of `source` that are data, licences and read-me files too; what is not like the source is said."""
    for note in copy_folder(source, raw, leave_out=(Raw.source, *leave_out)).notes():
        log(f"ingest: {note}")


def listed_but_missing(total: int, missing: Sequence[str]) -> list[str]:
    """A line for people about files that a table lists and that are not there, where there are such."""
    return [f"{total} listed, {len(missing)} of them not there: {examples(missing)}"] if missing else []


@dataclass(frozen=True)
class Box:
    """A bounding box in pixels; the origin is the image's top left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class ImageRecord:
    """One image that the data set lists. Its file may still be missing or damaged."""

    image_id: int
    name: str  # for people: in messages, the manifest and rejected.csv
    path: Path | None  # of its file; None where its name points out of the data set's folder, or is a hidden file's
    box: Box | None  # None: the largest square in the middle of the image
    label: int  # the place of its class in the index, from 0
    official_split: SplitName


@dataclass(frozen=True)
class ImageIndex:
    """All records in the order of their ids, and the classes by label, in the order of their numbers."""

    records: tuple[ImageRecord, ...]
    class_names: tuple[str, ...]
    class_numbers: tuple[int, ...]  # as the data set itself counts its classes, with gaps where it has some


class ImageLayoutReader(LayoutReader):
    """A layout of images: `read_index` is all that a new one must have."""

    @abstractmethod
    def read_index(self, raw: Path) -> ImageIndex:
        """The images that the data set in `raw` lists, in an order that depends on their names alone.

        Raises:
            RawDataError: `raw` is not in this layout; the message names the file and the line.
        """

    def verify(self, raw: Path) -> None:
        """Raise RawDataError unless the index can be read and some image is there."""
        records = self.read_index(raw).records
        if not any(map(_is_there, records)):
            names = examples([record.name for record in records])
            raise RawDataError(f"{raw}: lists {len(records)} images, and none of the files is there ({names})")

    def describe(self, raw: Path) -> list[str]:
        """How many images and classes there are, and which are listed only."""
        records = self.read_index(raw).records
        there = [record for record in records if _is_there(record)]
        missing = [record.name for record in records if not _is_there(record)]
        return [
            f"{len(there)} images of {len({record.label for record in there})} classes",
            *listed_but_missing(len(records), missing),
        ]


def _is_there(record: ImageRecord) -> bool:
    return record.path is not None and record.path.is_file()
