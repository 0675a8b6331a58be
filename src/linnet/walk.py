"""One walk over a folder of somebody's files: links are followed, and what a system left beside them is passed over.

Disks differ: data lies behind links (another disk, DVC's cache, the hub's blobs), names are any bytes, and the same
letter has two forms in Unicode. All that reads a source, copies it or hashes it goes through here.
"""

import functools
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from linnet.errors import LinnetError

# What file managers, network disks and synchronizers leave, in lower case; names that begin with a dot are left too.
SYSTEM_NAMES = frozenset(
    {"__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
    | {"@eadir", "lost+found"}
)
FALLBACK_ENCODINGS = ("utf-8", "cp1252", "latin-1")  # of names; the last reads any bytes
MOST_SHOWN = 3  # names in a message


class WalkError(LinnetError):
    """A folder cannot be walked: its links lead in a circle, or two of its names are the same text."""


@dataclass(frozen=True)
class Walk:
    """What lies below a folder. Names are relative, with /, as `os.fsdecode` gives them, sorted by their bytes."""

    files: Mapping[str, Path]  # links followed
    broken: tuple[str, ...]  # links that lead nowhere
    ignored: tuple[str, ...]  # hidden files and folders, and those of the system

    def texts(self) -> dict[str, Path]:
        """The files by names that are text, as tables, DVC and S3 need them.

        Raises:
            WalkError: two files have the same one.
        """
        texts: dict[str, Path] = {}
        for name, path in self.files.items():
            if (first := texts.setdefault(readable(name), path)) is not path:
                raise WalkError(f"{shown(first)} and {shown(path)}: both names read {readable(name)!r}; rename one")
        return texts

    def notes(self) -> list[str]:
        """Lines for people: what a copy of these files leaves out or calls otherwise."""
        renamed = [readable(name) for name in self.files if readable(name) != name]
        return [
            f"{len(names)} {what}: {examples(names)}"
            for what, names in (
                ("links lead nowhere and are left out", self.broken),
                ("names are not UTF-8 and were read as Windows-1252", renamed),
                ("hidden files or files of the system are left out", self.ignored),
            )
            if names
        ]


def walk(folder: Path) -> Walk:
    """All files below `folder`, which may be a link or missing; links to files and to folders are followed.

    Raises:
        WalkError: a link leads to a folder that it lies in.
    """
    files, broken, ignored = dict[str, Path](), list[str](), list[str]()

    def visit(place: Path, below: str, parents: Mapping[tuple[int, int], Path]) -> None:
        parents = {**parents, _identity(place, parents): place}
        with os.scandir(place) as entries:
            for entry in entries:
                name, path, is_link = below + entry.name, Path(entry.path), entry.is_symlink()
                seen = path if is_link else entry  # an entry knows its kind without a look at the disk, but not a link
                if is_ignored(entry.name):
                    ignored.append(name)
                elif seen.is_dir():
                    visit(path, f"{name}/", parents)
                elif seen.is_file():
                    files[name] = path
                elif is_link:
                    broken.append(name)

    if folder.is_dir():
        visit(folder, "", {})
    ordered = {name: files[name] for name in sorted(files, key=os.fsencode)}
    return Walk(ordered, tuple(sorted(broken, key=os.fsencode)), tuple(sorted(ignored, key=os.fsencode)))


def broken_links(*folders: Path) -> str:
    """A sentence to go behind an error about something missing in these folders, empty where no link can be the cause.

    Only their own entries are looked at: a folder that is none of the data's may be a whole disk.
    """
    entries = [path for folder in folders if folder.is_dir() for path in visible_entries(folder)]
    broken = [path.name for path in entries if path.is_symlink() and not path.exists()]
    if not broken:
        return ""
    return f". {len(broken)} links there lead nowhere ({examples(broken)}): bring back the disk or cache they point to"


def _identity(folder: Path, parents: Mapping[tuple[int, int], Path]) -> tuple[int, int]:
    """What is the same for a folder and all links to it. Raises WalkError if it is among its own parents."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in parents:
        raise WalkError(
            f"{shown(folder)}: a link leads back to {shown(parents[identity])}, in which it lies; reading would "
            "never end, so remove the link"
        )
    return identity


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is the system's, not the data's: .DS_Store, ._cup.jpg, .git, Thumbs.db."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def visible_entries(folder: Path) -> list[Path]:
    """The entries of a folder itself, without those that `walk` passes over, sorted."""
    return sorted(path for path in folder.iterdir() if not is_ignored(path.name))


def readable(name: str) -> str:
    """A name of a file as text: its bytes are read as UTF-8, or else as Windows-1252 or Latin-1."""
    return decoded(os.fsencode(name))


def decoded(content: bytes) -> str:
    """The bytes of a name as text, as `readable` reads them."""
    for encoding in FALLBACK_ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 reads any bytes")


def shown(path: object) -> str:
    """A path in a message, which may hold any bytes."""
    return str(path).encode(errors="replace").decode()


def examples(names: Sequence[str]) -> str:
    """The first of many names, for a message."""
    return ", ".join(map(shown, names[:MOST_SHOWN])) + (", ..." if len(names) > MOST_SHOWN else "")


class NameFinder:
    """Finds files by the names that tables give them.

    A name is taken as it is, or else with / for the backslashes of Windows, and in the other form of Unicode (macOS
    writes an accent as a letter of its own) or in the encoding of an older system.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find(self, name: str) -> str | None:
        """The file's own name, None if there is no such file."""
        plain = PurePosixPath(name).as_posix()
        if plain in self._files:
            return plain
        return self._by_text.get(_same_text(PurePosixPath(name.replace("\\", "/")).as_posix()))

    @functools.cached_property
    def _by_text(self) -> dict[str, str]:
        return {_same_text(readable(name)): name for name in reversed(list(self._files))}  # the first of several stays


def _same_text(text: str) -> str:
    return unicodedata.normalize("NFC", text)
