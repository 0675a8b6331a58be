"""Training arrays: written row by row with flat memory, read back memory-mapped."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from linnet.errors import first_line, is_out_of_memory
from linnet.files import ArtifactError

_HEADER_BYTES = 128  # room for any length, so that the header can be filled in last


class ArrayWriter:
    """Appends equal rows to a `.npy` file whose length is known only at the end."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._file = path.open("wb")
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._file.write(b"\0" * _HEADER_BYTES)
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def append(self, row: NDArray[np.generic]) -> None:
        """Add one row."""
        assert (row.shape, row.dtype) == (self._row_shape, self._dtype)
        self._file.write(np.ascontiguousarray(row).tobytes())
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.seek(0)
            self._file.write(self._header())
        self._file.close()

    def _header(self) -> bytes:
        shape = (self.count, *self._row_shape)
        text = f"{{'descr': '{npy.dtype_to_descr(self._dtype)}', 'fortran_order': False, 'shape': {shape}, }}"
        length = _HEADER_BYTES - npy.MAGIC_LEN - 2
        magic: bytes = npy.magic(1, 0)
        return magic + length.to_bytes(2, "little") + text.ljust(length - 1).encode("latin1") + b"\n"


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a whole array, row by row: `np.save` hides what the system says of a full disk."""
    with ArrayWriter(path, array.shape[1:], array.dtype.type) as writer:
        for row in array:
            writer.append(row)


class ChannelStatistics:
    """Exact mean and standard deviation of each channel over all pixels seen: integer sums, whatever their order."""

    def __init__(self, channels: int) -> None:
        self._sum = np.zeros(channels, dtype=np.uint64)
        self._squares = np.zeros(channels, dtype=np.uint64)
        self._pixels = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count one image, uint8 [height, width, channels]."""
        flat = image.reshape(-1, image.shape[-1]).astype(np.uint64)
        self._sum += flat.sum(axis=0)
        self._squares += (flat * flat).sum(axis=0)
        self._pixels += len(flat)

    def mean(self) -> list[float]:
        """Per channel, pixels scaled to 0..1."""
        return [int(total) / self._pixels / 255 for total in self._sum]

    def std(self) -> list[float]:
        """Per channel, pixels scaled to 0..1; never below half a grey level, so that it can be divided by."""
        pairs = zip(self._sum, self._squares, strict=True)
        variances = [int(square) / self._pixels - (int(total) / self._pixels) ** 2 for total, square in pairs]
        return [max(max(variance, 0.0) ** 0.5, 0.5) / 255 for variance in variances]


def open_array(path: Path) -> NDArray[np.generic]:
    """The array at `path`, memory-mapped and read-only. Raises ArtifactError if it is missing or damaged."""
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as reason:
        if is_out_of_memory(reason):
            raise
        raise ArtifactError(f"{path}: cannot be used ({first_line(reason)}); make its folder again") from None
    return array


def random_rows(array: NDArray[Any], count: int, seed: int) -> NDArray[Any]:
    """`count` rows of `array` chosen by chance, or all where there are fewer; in their order."""
    rows = np.random.default_rng(seed).permutation(len(array))[:count]
    return np.asarray(array[np.sort(rows)])
