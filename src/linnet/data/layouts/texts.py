"""Tables as people's programs write them: UTF-8 with or without a byte order mark, or UTF-16."""

import codecs
from pathlib import Path

from linnet.data.raw import RawDataError

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> str:
    """The text of a table. Line ends stay as they are.

    Raises:
        RawDataError: NUL bytes, or bytes of another encoding; the message names the line.
    """
    content = path.read_bytes()
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        begin = content[: error.start].decode(encoding, errors="ignore")
        known = "UTF-8" if encoding.startswith("utf-8") else "UTF-16"
        raise _refused(path, begin, f"byte 0x{content[error.start]:02x} is no {known}") from None
    if (place := text.find("\0")) >= 0:
        raise _refused(path, text[:place], "a NUL byte")
    return text


def _encoding(content: bytes) -> str:
    """By the byte order mark, or by where the NULs of UTF-16 stand in the two ASCII characters that begin a table."""
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return encoding
    match [byte == 0 for byte in content[:4]]:
        case [False, True, False, True]:
            return "utf-16-le"
        case [True, False, True, False]:
            return "utf-16-be"
        case _:
            return "utf-8"


def _refused(path: Path, begin: str, fault: str) -> RawDataError:
    line = begin.count("\n") + 1
    return RawDataError(f"{path}, line {line}: {fault}; save the file as text in UTF-8")
