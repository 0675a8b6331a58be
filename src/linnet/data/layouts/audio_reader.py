"""The layout of audio as ingest sees it: many published forms in, Hugging Face's audiofolder out."""

import collections
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from linnet.data.layouts import audio_conversion
from linnet.data.layouts.audio_folder import find_folder, read_recordings, visible_files
from linnet.data.layouts.base import LayoutReader
from linnet.data.raw import RawDataError
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
        unpacked = raw / ".unpacked"
        unpack(archive, unpacked, advance=advance)
        try:
            self.check(unpacked)
            self.copy(unpacked, raw)
        except RawDataError as reason:  # it names a folder that is about to go
            raise RawDataError(str(reason).replace(str(unpacked), str(archive))) from None
        shutil.rmtree(unpacked)

    def describe(self, raw: Path) -> list[str]:
        """How many recordings, labels and megabytes there are, and the most frequent oddities."""
        index = read_recordings(raw, self.data)
        labels = {label for recording in index.recordings for label in recording.labels}
        megabytes = sum(path.stat().st_size for path in visible_files(find_folder(raw)).values()) / MEGABYTE
        notes = collections.Counter(note for _, note in index.notes).most_common(MOST_NOTES)
        return [
            f"{len(index.recordings)} recordings with {len(labels)} labels, {megabytes:.1f} MB",
            *(f"{count} of them: {note}" for note, count in notes),
        ]
