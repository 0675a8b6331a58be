"""Texts of tables in the encodings of people's programs, or one sentence."""

from pathlib import Path

import pytest

from linnet.data.layouts.texts import read_text
from linnet.data.raw import RawDataError

TEXT = "1 red_cup\u00e9/a.png\r\n2 \u732b/b.png\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_gives_the_same_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "a.txt") == TEXT


def test_utf_16_of_the_other_order_has_a_mark_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("\ufeff" + TEXT).encode("utf-16-be"))
    assert read_text(tmp_path / "a.txt") == TEXT


@pytest.mark.parametrize("text", ["", "a", "ab"])
def test_short_texts(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 a\n2 b\xe9\n", "line 2: byte 0xe9 is no UTF-8"),
        (b"1 a\n2 b\0\n", "line 2: a NUL byte"),
        ("1 a\n2 b\0\n".encode("utf-16"), "line 2: a NUL byte"),
        ("1 a\n2 b\n3 c".encode("utf-16") + b"\0", "line 3: byte 0x00 is no UTF-16"),
        ("1 a\n".encode("utf-32-le"), "line 1: a NUL byte"),
    ],
)
def test_anything_else_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(RawDataError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}, {message}; save the file as text in UTF-8"
