"""Which files hold the same bytes, which examples are equal, and which pictures nearly so."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.hashes import file_hash

PROBE_BYTES = 4096  # looked at in three places before files of equal size are read whole: sounds often are equally long
THUMBNAIL_SIDE = 8  # pixels; images have a multiple of it
CHUNK = 1024  # images at once
FINGERPRINT_STEP = 16
HASH_BANDS, BAND_BITS = 4, 14
MAX_HASH_DISTANCE = HASH_BANDS - 1  # of 56 bits: two hashes no further apart have a band in common
MAX_DIFFERENCE = 4.0  # grey levels between thumbnails, on average: another JPEG quality or size makes less than 2


def first_of_equal_files(paths: Sequence[Path | None]) -> NDArray[np.int64]:
    """int64 [N]: for each file the index of the first with the same content; its own where there is none before it.

    None, what is no file, is empty or cannot be read is like no other. Only files of equal size are opened, and only
    those that agree at their beginning, in the middle and at the end are read.
    """
    groups = [list(dict.fromkeys(path for path in paths if path is not None))]
    for key in (_size, _probe, file_hash):
        groups = [alike for group in groups for alike in _alike(group, key)]
    representative = {path: group[0] for group in groups for path in group}
    seen: dict[Path, int] = {}
    first = np.arange(len(paths))
    for index, path in enumerate(paths):
        if path is not None:  # one file may be listed several times, for several boxes
            first[index] = seen.setdefault(representative.get(path, path), index)
    return first


def _alike(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """The paths by their key, in their order; those that are alone are left out."""
    groups: defaultdict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            groups[key(path)].append(path)
        except OSError:  # whoever reads it for training says what is wrong with it
            continue
    return [group for group in groups.values() if len(group) > 1]


def _size(path: Path) -> int:
    size = path.stat().st_size
    if not size:  # a pipe too, which nobody may write into
        raise OSError(f"{path}: holds nothing")
    return size


def _probe(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        found = []
        for start in (0, size // 2, max(size - PROBE_BYTES, 0)):
            file.seek(start)
            found.append(file.read(PROBE_BYTES))
    return b"".join(found)


def fingerprint(row: NDArray[Any]) -> int:
    """A number that equal rows share, and others seldom; of every 16th value, so that it takes no time."""
    return zlib.crc32(row[::FINGERPRINT_STEP].tobytes())


def count_equal_rows(
    rows: NDArray[Any], fingerprints: Sequence[int], others: NDArray[Any], other_fingerprints: Sequence[int]
) -> int:
    """How many of `rows` are equal to one of `others`; both may be memory-mapped, few of them are read."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, found in enumerate(other_fingerprints):
        places[found].append(place)
    return sum(
        any(np.array_equal(rows[index], others[place]) for place in places[found])
        for index, found in enumerate(fingerprints)
        if found in places
    )


def count_near_copies(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> int:
    """How many of `images`, uint8 [N, S, S, 3], look like one of `others`, uint8 [M, S, S, 3]; S is a multiple of 8.

    Two do if the difference hashes of their thumbnails of 8 x 8 pixels (is a pixel brighter than its right neighbour?)
    differ in three of 56 bits or fewer, and the thumbnails by four grey levels or less on average: the same picture at
    another size or quality, or the next frame of a film; not one that is mirrored, or cut elsewhere.
    """
    thumbnails, other_thumbnails = _thumbnails(images), _thumbnails(others)
    hashes, other_hashes = _difference_hashes(thumbnails), _difference_hashes(other_thumbnails)
    bands, other_bands = _bands(hashes), _bands(other_hashes)
    orders = [np.argsort(band, kind="stable") for band in other_bands]
    ends = [
        np.searchsorted(band[order], np.arange(2**BAND_BITS + 1))
        for band, order in zip(other_bands, orders, strict=True)
    ]
    count = 0
    for index in range(len(images)):
        rows = np.concatenate(
            [
                order[end[band[index]] : end[band[index] + 1]]
                for order, end, band in zip(orders, ends, bands, strict=True)
            ]
        )
        rows = rows[np.bitwise_count(other_hashes[rows] ^ hashes[index]) <= MAX_HASH_DISTANCE]
        differences = np.abs(other_thumbnails[rows].astype(np.int16) - thumbnails[index]).mean(axis=(1, 2, 3))
        count += bool((differences <= MAX_DIFFERENCE).any())
    return count


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of blocks: uint8 [N, S, S, 3] -> uint8 [N, 8, 8, 3]."""
    found = np.empty((len(images), THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), dtype=np.uint8)
    block = images.shape[1] // THUMBNAIL_SIDE
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        rows = part.reshape(-1, block, part.shape[2] * 3).sum(axis=1, dtype=np.uint32)
        sums = rows.reshape(len(part), THUMBNAIL_SIDE, THUMBNAIL_SIDE, block, 3).sum(axis=3)
        found[start : start + CHUNK] = sums // block**2
    return found


def _difference_hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint8 [N, 8, 8, 3] -> uint64 [N] of 56 bits; none is set by noise where all is nearly as bright."""
    grey = thumbnails.astype(np.int16).sum(axis=3)
    bits = (grey[:, :, :-1] - grey[:, :, 1:] > 3 * MAX_DIFFERENCE).reshape(len(grey), HASH_BANDS * BAND_BITS)
    hashes: NDArray[np.uint64] = bits @ (np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64))
    return hashes


def _bands(hashes: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """The bits of each hash in parts: two hashes that differ in fewer bits than there are parts share one of them."""
    shifts = (np.uint64(BAND_BITS * band) for band in range(HASH_BANDS))
    return [(hashes >> shift & np.uint64(2**BAND_BITS - 1)).astype(np.int64) for shift in shifts]
