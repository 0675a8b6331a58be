"""The layout of audio as ingest sees it: many published forms in, Hugging Face's audiofolder out."""

import collections
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from linnet.data.layouts import audio_conversion
from linnet.data.layouts.audio_folder import find_folder, read_recordings, visible_files
from linnet.data.layouts.base import UNPACKED, LayoutReader, listed_but_missing
from linnet.data.sources.archive import unpack
from linnet.recipe import Audio

MEGABYTE = 1_000_000
MOST_NOTES = 5  # kinds of oddities that are logged; the dataset's page lists them all


@dataclass(frozen=True)
class AudioFolderReader(LayoutReader):
    """Audiofolders as they are; those with several metadata files, metadata.jsonl or parquet are converted."""

    data: Audio

    @property
    def settings(self) -> Mapping[str, str]:
        """Lists of labels become text with this separator."""
        return {"label_separator": self.data.label_separator}

    def verify(self, raw: Path) -> None:
        """Raise RawDataError unless the metadata can be read and some recording is there."""
        read_recordings(raw, self.data)

    def check(self, source: Path) -> None:
        """Raise RawDataError if `source` cannot be converted, as far as that shows without copying anything."""
        audio_conversion.check(source, self.data)

    def copy(self, source: Path, raw: Path) -> None:
        """Convert the folder `source`."""
        audio_conversion.convert(source, raw, self.data)

    def unpack(self, archive: Path, raw: Path, *, advance: Callable[[int], None]) -> None:
        """Convert what an archive holds."""
        unpacked = raw / UNPACKED
        unpack(archive, unpacked, advance=advance)
        self.check(unpacked)
        self.copy(unpacked, raw)
        shutil.rmtree(unpacked)

    def describe(self, raw: Path) -> list[str]:
        """How many recordings, labels and megabytes there are, and the most frequent oddities."""
        index, base = read_recordings(raw, self.data), find_folder(raw)
        labels = {label for recording in index.recordings for label in recording.labels}
        files = visible_files(base)
        megabytes = sum(path.stat().st_size for path in files.values()) / MEGABYTE
        missing = [each.file_name for each in index.recordings if each.file_name not in files]
        notes = collections.Counter(note for _, note in index.notes).most_common(MOST_NOTES)
        return [
            f"{len(index.recordings) - len(missing)} recordings with {len(labels)} labels, {megabytes:.1f} MB",
            *listed_but_missing(len(index.recordings), missing),
            *(f"{count} of them: {note}" for note, count in notes),
        ]
