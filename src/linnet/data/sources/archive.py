"""Archives that are unpacked without ever writing outside their folder."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from linnet.errors import LinnetError, first_line

CHUNK_BYTES = 1 << 20
DAMAGES = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


class ArchiveError(LinnetError):
    """An archive is damaged or hostile."""


def unpack(archive: Path, folder: Path, *, advance: Callable[[int], None]) -> None:
    """Unpack a tar (any compression) or zip archive into `folder`; no member may land outside it.

    A link becomes a copy of the member that it points to; links to anything else, devices and names that lead out of
    the folder are refused. (Python's own extraction filters are missing before 3.11.4.)

    Args:
        advance: called with 1 after each member.

    Raises:
        ArchiveError: it is no archive, is truncated or damaged, or has a refused member, which the message names.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, advance)
        else:
            _unpack_tar(archive, folder, advance)
    except ArchiveError as error:
        raise ArchiveError(f"{archive}: {error}; nothing is kept") from None
    except DAMAGES as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise ArchiveError(f"{archive}: not a whole archive ({first_line(error)}); fetch it again") from None


def _unpack_tar(archive: Path, folder: Path, advance: Callable[[int], None]) -> None:
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            if member.isdir():
                _inside(folder, member.name).mkdir(parents=True, exist_ok=True)
            else:
                with _content(tar, member) as content:
                    _write(_inside(folder, member.name), content)
            advance(1)
        while tar.fileobj is not None and tar.fileobj.read(CHUNK_BYTES):
            pass  # to the end of the compressed stream, where its checksum is


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    try:
        content = tar.extractfile(member)  # follows links, inside the archive only
    except KeyError:
        raise ArchiveError(f"member {member.name!r} would land outside the folder ({member.linkname})") from None
    if content is None:
        raise ArchiveError(f"member {member.name!r} is no plain file")
    return content


def _unpack_zip(archive: Path, folder: Path, advance: Callable[[int], None]) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            target = _inside(folder, member.filename)
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                with file.open(member) as content:
                    _write(target, content)
            advance(1)


def _inside(folder: Path, name: str) -> Path:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ArchiveError(f"member {name!r} would land outside the folder")
    return target


def _write(target: Path, content: IO[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK_BYTES)
