"""The bytes of an audio file, and a part of them as a file of its own."""

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

READ_AT_ONCE = 2**16
LONGEST_PATTERN = 64  # bytes of what is searched for


class FileBytes:
    """The content of an open file. Not a memory map: on a failing disk that ends the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes, or fewer at the end of the file."""
        return os.pread(self._descriptor, count, offset) if offset < self.size else b""

    def find(self, pattern: re.Pattern[bytes], start: int, *, words: tuple[bytes, ...] = (b"",)) -> int | None:
        """Where `pattern` first matches at or after `start`.

        Args:
            words: at least one of them is in what is looked for; searching for them is 10 times as fast.
        """
        for offset, block in self._blocks(start):
            if any(word in block for word in words) and (match := pattern.search(block)):
                return offset + match.start()
        return None

    def is_zero(self, start: int) -> bool:
        """Whether only zeros lie from `start` on."""
        return not any(any(block) for _, block in self._blocks(start))

    def _blocks(self, start: int) -> Iterator[tuple[int, bytes]]:
        for offset in range(start, self.size, READ_AT_ONCE):
            yield offset, self.at(offset, READ_AT_ONCE + LONGEST_PATTERN)


@dataclass(frozen=True)
class Part:
    """The bytes of one recording within a file."""

    start: int
    stop: int
    patches: tuple[tuple[int, bytes], ...] = ()  # (offset in the file, what should stand there)
    prefix: bytes = b""  # a header that should stand before it
    declared_fraction: float | None = 1.0  # of its samples, that its header knew of; None: the header does not say
    notes: tuple[str, ...] = ()


class PartFile(io.RawIOBase):
    """One part of a file, read as a file of its own, with its header mended."""

    def __init__(self, data: FileBytes, part: Part) -> None:
        super().__init__()
        self._data, self._part, self._place = data, part, 0
        self._begin = part.start - len(part.prefix)  # where offset 0 lies in the file, or would

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._part.stop - self._begin}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no length
        part, prefix = self._part, self._part.prefix[self._place :][: len(buffer)]
        start = max(self._begin + self._place, part.start)
        try:
            content = self._data.at(start, max(min(len(buffer) - len(prefix), part.stop - start), 0))
        except OSError:  # of a failing disk: an exception would not pass the decoder
            content = b""
        found = bytearray(prefix + content)
        for offset, patch in part.patches:
            for place, value in enumerate(patch, offset - self._begin - self._place):
                if 0 <= place < len(found):
                    found[place] = value
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)
