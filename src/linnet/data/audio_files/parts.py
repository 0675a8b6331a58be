"""Where the recordings in one file begin and end, and what has to be mended in their headers.

Decoders stop where the first recording ends. Files joined end to end and radio streams hold several, and the header of
a recorder that died does not say how much there is.
"""

from collections.abc import Callable
from functools import partial

from linnet.data.audio_files.bytes import FileBytes, Part
from linnet.data.audio_files.chunks import AIFF, CAF, RIFX, W64, WAV, scan_au, scan_chunks
from linnet.data.audio_files.errors import UnreadableAudio
from linnet.data.audio_files.heads import HEADS, after_tags, begins_mp3, is_tag
from linnet.data.audio_files.streams import scan_flac, scan_mp3, scan_ogg

MAX_PARTS = 10_000
LEAST_REST = 4096  # bytes after the last recording that are said; what is shorter is anybody's tag
Scanner = Callable[[FileBytes, int], Part]


def find_parts(data: FileBytes) -> tuple[list[Part], int]:
    """The recordings in a file in their order, and the number of bytes after the last that are no recording.

    No part: the file begins with none of the formats that are known here. A decoder may know it.

    Raises:
        UnreadableAudio: there are absurdly many.
        OSError: the file cannot be read.
    """
    parts: list[Part] = []
    place: int | None = 0
    while place is not None and (scanner := _scanner(data, place)) is not None:
        part = scanner(data, place)
        assert part.stop > place, "a scanner goes on"
        parts.append(part)
        if len(parts) > MAX_PARTS:
            raise UnreadableAudio(f"more than {MAX_PARTS} recordings joined end to end; cut it into files")
        place = _next_head(data, part.stop)
    stop = parts[-1].stop if parts else data.size
    is_known = data.size - stop < LEAST_REST or is_tag(data, stop) or data.is_zero(stop)
    return parts, 0 if is_known else data.size - stop


def _next_head(data: FileBytes, place: int) -> int | None:
    """Where the next recording begins at or after `place`."""
    if place >= data.size or _scanner(data, place) is not None:
        return place if place < data.size else None
    return data.find(HEADS, place)


def _scanner(data: FileBytes, place: int) -> Scanner | None:
    """What tells how far the recording goes that begins at `place`."""
    head = data.at(place, 16)
    match head[:4]:
        case b"RIFF" | b"RF64" if head[8:12] == b"WAVE":
            return partial(scan_chunks, WAV)
        case b"RIFX" if head[8:12] == b"WAVE":
            return partial(scan_chunks, RIFX)
        case b"FORM" if head[8:12] in (b"AIFF", b"AIFC"):
            return partial(scan_chunks, AIFF)
        case b"caff":
            return partial(scan_chunks, CAF)
        case b"riff" if HEADS.match(head):
            return partial(scan_chunks, W64)
        case b".snd":
            return scan_au
        case b"OggS":
            return scan_ogg
        case b"fLaC":
            return scan_flac
        case _:
            begin = after_tags(data, place)
            if begin > place and data.at(begin, 4) == b"fLaC":
                return scan_flac
            return scan_mp3 if begins_mp3(data, begin) else None
