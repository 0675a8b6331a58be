"""Formats whose header gives the size of their samples: WAV and its relatives, AIFF, CAF, AU.

A recorder or a pipe that was cut off leaves 0 or all ones there, or what was true some seconds before the end.
"""

import struct
from dataclasses import dataclass

from linnet.data.audio_files.bytes import FileBytes, Part
from linnet.data.audio_files.heads import HEADS, begins_recording, is_tag

UNKNOWN_BYTES = 0x7FFFF000  # and above: put by programs that write to a pipe for a size they don't know yet
LEAST_SAMPLES = 4096  # bytes; what is shorter after the end that the header gives is no audio
W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of the names of all chunks but the first


@dataclass(frozen=True)
class ChunkFormat:
    """How a file of chunks is written: each has a name, a size and that many bytes."""

    byte_order: str  # as struct has it
    name_bytes: int
    size_code: str  # as struct has it
    size_includes_head: bool
    alignment: int  # of chunks, in bytes
    first_chunk: int  # offset in the file
    samples: bytes  # the name of the chunk that holds them
    samples_offset: int  # of them in it

    @property
    def head_bytes(self) -> int:
        """Of a chunk."""
        return self.name_bytes + struct.calcsize(self.size_code)


WAV = ChunkFormat("<", 4, "I", False, 2, 12, b"data", 0)
RIFX = ChunkFormat(">", 4, "I", False, 2, 12, b"data", 0)
AIFF = ChunkFormat(">", 4, "I", False, 2, 12, b"SSND", 8)
CAF = ChunkFormat(">", 4, "Q", False, 1, 8, b"data", 4)
W64 = ChunkFormat("<", 16, "Q", True, 8, 40, b"data" + W64_GUID, 0)
AU_HEADER_BYTES = 24  # and above


def scan_chunks(form: ChunkFormat, data: FileBytes, start: int) -> Part:
    """The recording that begins at `start` in a file of chunks."""
    place, large_sizes = start + form.first_chunk, None
    while chunk := _chunk(form, data, place):
        name, size = chunk
        begin = place + form.head_bytes
        if name == b"ds64":
            large_sizes = begin
        if name == form.samples:
            if large_sizes is not None and size == 2**32 - 1:
                size = struct.unpack("<Q", data.at(large_sizes + 8, 8))[0]
            return _with_samples(form, data, start, begin, size, large_sizes)
        place = _end(form, begin, size)
    return Part(start, data.size)  # no samples: the decoder says so


def scan_au(data: FileBytes, start: int) -> Part:
    """The recording of an AU file that begins at `start`."""
    header = data.at(start + 4, 8)
    if len(header) < 8:
        return Part(start, data.size)
    header_bytes, declared = struct.unpack(">II", header)
    begin = start + max(header_bytes, AU_HEADER_BYTES)
    stop = _stop(data, begin, declared, is_followed=False)
    if stop is None:
        return Part(start, min(begin + declared, data.size))
    return _mended(start, begin, stop, declared, ((start + 8, struct.pack(">I", min(stop - begin, 2**32 - 1))),))


def _with_samples(
    form: ChunkFormat, data: FileBytes, start: int, begin: int, size: int, large_sizes: int | None
) -> Part:
    """The part whose chunk of samples has its first byte at `begin` and says that it has `size`."""
    after = _end(form, begin, size)
    is_followed = _is_chunk(form, data, after)
    first_sample, declared = begin + form.samples_offset, max(size - form.samples_offset, 0)
    stop = _stop(data, first_sample, declared, is_followed=is_followed)
    if stop is None:
        while _is_chunk(form, data, after):
            after = _end(form, after + form.head_bytes, _chunk(form, data, after)[1])  # type: ignore[index]
        return Part(start, min(after, data.size))
    actual = stop - begin + (form.head_bytes if form.size_includes_head else 0)
    size_bytes = struct.calcsize(form.size_code)
    limit = 2 ** (8 * size_bytes) - 1
    patches = [(begin - size_bytes, struct.pack(form.byte_order + form.size_code, min(actual, limit)))]
    if form in (WAV, RIFX, AIFF):  # the size of all comes after the first four bytes
        patches.append((start + 4, struct.pack(form.byte_order + "I", min(stop - start - 8, limit))))
    if large_sizes is not None:
        patches = [
            (begin - 4, b"\xff" * 4),
            (start + 4, b"\xff" * 4),
            (large_sizes, struct.pack("<QQ", stop - start - 8, actual)),
        ]
    return _mended(start, first_sample, stop, declared, tuple(patches))


def _stop(data: FileBytes, begin: int, declared: int, *, is_followed: bool) -> int | None:
    """Where samples that begin at `begin` end, if that is not where the header says."""
    end = begin + declared
    if is_followed or end == data.size or begin >= data.size:
        return None
    if declared == 0 or declared >= UNKNOWN_BYTES:
        return data.find(HEADS, begin) or data.size
    if data.size - end < LEAST_SAMPLES or is_tag(data, end) or data.is_zero(end) or begins_recording(data, end):
        return None  # also where it is cut off: the decoder says so
    stop = data.find(HEADS, end) or data.size
    return stop if stop - end >= LEAST_SAMPLES else None


def _mended(start: int, begin: int, stop: int, declared: int, patches: tuple[tuple[int, bytes], ...]) -> Part:
    if stop <= begin:
        return Part(start, stop)
    is_known = declared < UNKNOWN_BYTES
    return Part(start, stop, patches, declared_fraction=declared / (stop - begin) if is_known else None)


def _chunk(form: ChunkFormat, data: FileBytes, place: int) -> tuple[bytes, int] | None:
    """Name and size of the chunk at `place`, without its head."""
    head = data.at(place, form.head_bytes)
    if len(head) < form.head_bytes:
        return None
    name, size = head[: form.name_bytes], struct.unpack(form.byte_order + form.size_code, head[form.name_bytes :])[0]
    return name, max(size - form.head_bytes, 0) if form.size_includes_head else size


def _is_chunk(form: ChunkFormat, data: FileBytes, place: int) -> bool:
    """Whether a whole chunk begins at `place`, and not another file."""
    chunk = _chunk(form, data, place)
    if chunk is None or HEADS.match(data.at(place, 64)):
        return False
    name, size = chunk
    is_name = name.endswith(W64_GUID) if form.name_bytes == 16 else all(32 <= letter < 127 for letter in name)
    return is_name and place + form.head_bytes + size <= data.size


def _end(form: ChunkFormat, begin: int, size: int) -> int:
    """Where the chunk ends whose bytes begin at `begin`."""
    return begin + -(-size // form.alignment) * form.alignment
