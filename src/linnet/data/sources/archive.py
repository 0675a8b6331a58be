"""Archives that are unpacked without ever writing outside their folder."""

import contextlib
import lzma
import posixpath
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from linnet.errors import LinnetError, first_line
from linnet.progress import log
from linnet.walk import decoded, examples, is_ignored, readable

CHUNK_BYTES = 1 << 20
FORMATS = ".tar, .tar.gz, .tar.bz2, .tar.xz and .zip"
UTF_8_FLAG = 0x800  # of a zip member: its name is UTF-8
UNIX = 3  # the system that made it
DAMAGES = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


class ArchiveError(LinnetError):
    """An archive is damaged or hostile."""


def unpack(archive: Path, folder: Path, *, advance: Callable[[int], None]) -> None:
    """Unpack a tar (any compression) or zip archive into `folder`; no member may land outside it.

    A link becomes a copy of the member that it points to; links to anything else, devices and names that lead out of
    the folder are refused. (Python's own extraction filters are missing before 3.11.4.) Hidden files and those of the
    system are passed over and counted. Names become text: the backslashes of Windows separate folders.

    Args:
        advance: called with 1 after each member.

    Raises:
        ArchiveError: it is no archive, is truncated or damaged, or has a refused member, which the message names.
    """
    try:
        kind = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
        ignored = kind(archive, folder, advance)
    except ArchiveError as error:
        raise ArchiveError(f"{archive}: {error}; nothing is kept") from None
    except DAMAGES as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise ArchiveError(
            f"{archive}: not a whole archive ({_cause(error)}); fetch it again ({FORMATS} are read)"
        ) from None
    if ignored:
        log(f"ingest: {len(ignored)} hidden files or files of the system are left out: {examples(ignored)}")


def _cause(error: BaseException) -> str:
    return first_line(error).rstrip(": ")  # tarfile lists below what it tried


def _unpack_tar(archive: Path, folder: Path, advance: Callable[[int], None]) -> list[str]:
    ignored = []
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            name = readable(member.name)
            target = _inside(folder, name)
            if _is_ignored(target, folder):
                ignored.append(name)
            elif member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                with _content(tar, member) as content:
                    _write(target, content)
            advance(1)
        while tar.fileobj is not None and tar.fileobj.read(CHUNK_BYTES):
            pass  # to the end of the compressed stream, where its checksum is
    return ignored


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    try:
        content = tar.extractfile(member)  # follows links, inside the archive only
    except KeyError:
        content = None
    if content is None:
        raise ArchiveError(f"member {member.name!r} {_why_not(tar, member)}")
    return content


def _why_not(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """What is wrong with a member that is no file, and no link to one in the archive."""
    if not member.issym() and not member.islnk():
        return "is no plain file"
    below = posixpath.dirname(member.name) if member.issym() else ""
    target = posixpath.normpath(posixpath.join(below, member.linkname))
    if any(f"{name}/".startswith(f"{target}/") for name in tar.getnames()):
        return f"is a link to a folder ({member.linkname}); pack the files themselves (tar --dereference)"
    return f"would land outside the folder ({member.linkname})"


def _unpack_zip(archive: Path, folder: Path, advance: Callable[[int], None]) -> list[str]:
    ignored = []
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            name = _zip_name(member)
            target = _inside(folder, name)
            if _is_ignored(target, folder):
                ignored.append(name)
            elif name.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                with file.open(member) as content:
                    _write(target, content)
            advance(1)
    return ignored


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Its name with / and as text.

    Without the flag for UTF-8 zipfile takes code page 437, as the format says; Macs write UTF-8 all the same, and Unix
    whatever bytes the disk has.
    """
    name = member.filename
    if not member.flag_bits & UTF_8_FLAG:
        content = name.encode("cp437")
        with contextlib.suppress(UnicodeDecodeError):
            name = decoded(content) if member.create_system == UNIX else content.decode("utf-8")
    return name.replace("\\", "/")  # of Windows' own Compress-Archive


def _is_ignored(target: Path, folder: Path) -> bool:
    return any(map(is_ignored, target.relative_to(folder.resolve()).parts))


def _inside(folder: Path, name: str) -> Path:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ArchiveError(f"member {name!r} would land outside the folder")
    return target


def _write(target: Path, content: IO[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK_BYTES)
