"""PNG files byte by byte, with chunks that Pillow does not write."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

GREY, RGB, GREY_ALPHA = 0, 2, 4


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(
    path: Path,
    rows: Sequence[bytes],
    *,
    width: int,
    bits: int,
    colour_type: int,
    before: bytes = b"",
    after: bytes = b"",
) -> Path:
    """Write rows of packed samples, with chunks before and after them."""
    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", head) + before + chunk(b"IDAT", body) + after + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path
