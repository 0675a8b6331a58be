"""The names of files as people's tables write them, and the files of the folder that they mean.

A table comes from another machine: with backslashes, absolute paths, paths from the parent folder, percent signs for
spaces, or other capitals than the disk has. A form is taken only where it leads to exactly one file of the folder, and
no name is ever taken for a file outside of it.
"""

import collections
import itertools
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from linnet.data.layouts.metadata import parse_file_name

SLASHES, DECODED, CASE = (
    "backslashes became slashes",
    "%20 and the like were decoded",
    "capitals as the files have them",
)
INSIDE = "paths that lead into the folder became relative to it"


@dataclass(frozen=True)
class FileNames:
    """What the cells of one table mean."""

    names: tuple[str, ...]  # relative to the source, with /; of a file that is not there what the cell says
    mended: tuple[str, ...]  # what was done, a kind once for each name it was done to
    num_found: int  # of the names, as files

    def summary(self) -> str:
        """What was done to how many names; "" for nothing."""
        kinds = collections.Counter(self.mended).most_common()
        return "; ".join(f"{count} of {len(self.names)} file names: {kind}" for kind, count in kinds)


class _Files:
    """The files below the source, by their names in either Unicode form and by any capitals."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {unicodedata.normalize("NFC", name): name for name in names}
        folded = collections.Counter(map(str.casefold, self._exact))
        self._folded = {nfc.casefold(): name for nfc, name in self._exact.items() if folded[nfc.casefold()] == 1}

    def find(self, name: str) -> tuple[str, str] | None:
        """The file that is called `name`, and what was done to the name."""
        nfc = unicodedata.normalize("NFC", name)
        if nfc in self._exact:
            return self._exact[nfc], ""
        return (self._folded[nfc.casefold()], CASE) if nfc.casefold() in self._folded else None


def resolve(
    cells: Sequence[str], wheres: Sequence[str], *, table: Path, source: Path, files: Iterable[str]
) -> FileNames:
    """The files below `source` that the cells of `table` name.

    Each name is read relative to the table, or as the path that it is where that leads into `source`. Where no file at
    all is found so, the names may share a beginning (`/home/me/songs/`, `songs/`) without which at least half of them
    are files; names that lead upwards (`..`) may not.

    Args:
        wheres: file and line of each cell, for messages.
        files: relative names of all files below `source`.

    Raises:
        RawDataError: a cell holds no file name.
    """
    known, below = _Files(files), table.parent.relative_to(source).as_posix()
    texts = [cell.strip() if _is_text(cell) else "" for cell in cells]
    found = _literal(texts, known, table.parent, source)
    if not any(found):
        found = _without_beginning(texts, known, below)
    names, mended = list[str](), list[str]()
    for cell, where, hit in zip(cells, wheres, found, strict=True):
        name = PurePosixPath(below, cell.strip()).as_posix() if hit else ""
        if hit and unicodedata.normalize("NFC", hit[0]) != unicodedata.normalize("NFC", name):
            name = hit[0]
            mended.append(hit[1])
        names.append(name or PurePosixPath(below, parse_file_name(cell, where)).as_posix())
    there = sum(known.find(name) is not None for name in names)
    return FileNames(tuple(names), tuple(mended), there)


def _is_text(cell: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in cell.strip())


def _readings(text: str) -> list[tuple[str, str]]:
    """What a cell may say, and what was done to it, the most literal first."""
    slashes, was_slashed = text.replace("\\", "/"), SLASHES if "\\" in text else ""
    decoded = unquote(slashes.removeprefix("file://"))
    notes = [was_slashed, DECODED] if decoded != slashes else [was_slashed]
    return [(text, ""), (slashes, was_slashed), (decoded, _joined(*notes))]


def _joined(*notes: str) -> str:
    return ", ".join(filter(None, notes))


def _literal(texts: Sequence[str], known: _Files, folder: Path, source: Path) -> list[tuple[str, str] | None]:
    """The files to which the paths lead, from `folder` or from the root of the disk."""
    ways = [(Path.cwd() / folder, Path.cwd() / source), (folder.resolve(), source.resolve())]  # by links and by targets
    places = [(os.path.normpath(start), os.path.normpath(top) + os.sep) for start, top in dict.fromkeys(ways)]
    return [_lead(text, known, places) if text else None for text in texts]


def _lead(text: str, known: _Files, places: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    for reading, note in _readings(text):
        for start, top in places:
            path = os.path.normpath(f"{start}/{reading}" if not reading.startswith("/") else reading)
            if path.startswith(top) and (hit := known.find(path.removeprefix(top))):
                is_detour = reading.startswith("/") or ".." in PurePosixPath(reading).parts
                return hit[0], _joined(note, INSIDE if is_detour else "", hit[1])
    return None


def _without_beginning(texts: Sequence[str], known: _Files, below: str) -> list[tuple[str, str] | None]:
    """The names without the one beginning that they share and that leaves files; None for each if there is none."""
    for readings in zip(*map(_readings, texts), strict=True):
        paths = [PurePosixPath(reading).parts for reading, _ in readings]
        if any(".." in parts or not parts for parts in paths):
            continue
        ways: dict[tuple[str, ...], list[tuple[str, str]]] = {}  # names, each way once
        for length, folder in itertools.product(range(_shared(paths) + 1), dict.fromkeys((below, "."))):
            rest = [PurePosixPath(folder, *parts[length:]).as_posix() for parts in paths]
            hits = [known.find(name) for name in rest]
            if 2 * sum(hit is not None for hit in hits) >= len(paths):
                beginning = PurePosixPath(*paths[0][:length]).as_posix() if length else ""
                taken = f"{beginning.rstrip('/') + '/'!r} was taken off" if beginning else "read from the top folder"
                named = [hit or (name, "") for name, hit in zip(rest, hits, strict=True)]
                noted = [
                    (name, _joined(reading[1], taken, note))
                    for (name, note), reading in zip(named, readings, strict=True)
                ]
                ways.setdefault(tuple(name for name, _ in noted), noted)
        if len(ways) == 1:
            return list(next(iter(ways.values())))
        if ways:
            return [None] * len(texts)  # it might be either
    return [None] * len(texts)


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders all paths begin with."""
    folders = [parts[:-1] for parts in paths]
    pairs = zip(min(folders), max(folders), strict=False)  # all others lie between these two
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
