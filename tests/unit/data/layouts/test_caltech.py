"""The Caltech index: read back as written, and every malformed line named."""

from pathlib import Path

import pytest

from linnet.data.layouts.base import Box, ImageIndex, ImageRecord
from linnet.data.layouts.caltech import FOLDER, INDEX_FILES, find_folder, read_index, write_index
from linnet.data.raw import RawDataError

TEXTS = {
    "images.txt": "2 002.Wren/b c.jpg\n7 001.Linnet/a.jpg\n",  # an id gap, and no sorted names
    "bounding_boxes.txt": "2 1.0 2.0 30.0 40.0\n7 60.0 27.5 325.0 304.0\n",
    "image_class_labels.txt": "2 2\n7 1\n",
    "classes.txt": "1 001.Linnet\n2 002.Wren\n4 004.Finch\n",
    "train_test_split.txt": "2 0\n7 1\n",
}


def records(folder: Path) -> tuple[ImageRecord, ...]:
    names = ("002.Wren/b c.jpg", "001.Linnet/a.jpg")
    paths = [folder / "images" / name for name in names]
    return (
        ImageRecord(2, names[0], paths[0], Box(1.0, 2.0, 30.0, 40.0), label=1, official_split="test"),
        ImageRecord(7, names[1], paths[1], Box(60.0, 27.5, 325.0, 304.0), label=0, official_split="train"),
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / FOLDER
    (folder / "images").mkdir(parents=True)
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tmp_path


def error_of(raw: Path, name: str, text: str) -> str:
    (raw / FOLDER / name).write_text(text, encoding="utf-8")
    with pytest.raises(RawDataError) as caught:
        read_index(raw)
    return str(caught.value).replace(f"{raw / FOLDER}", "F")


def test_the_official_layout_is_read(raw: Path) -> None:
    index = read_index(raw)
    assert index.records == records(raw / FOLDER)
    assert (index.class_names, index.class_numbers) == (("001.Linnet", "002.Wren", "004.Finch"), (1, 2, 4))
    assert read_index(raw / FOLDER) == index


def test_line_order_ends_and_blank_lines_do_not_matter(raw: Path) -> None:
    expected = read_index(raw)
    for name, text in TEXTS.items():
        (raw / FOLDER / name).write_bytes("\r\n\r\n".join(reversed(text.splitlines())).encode())
    assert read_index(raw) == expected


def test_an_index_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    index = ImageIndex(records(tmp_path), ("001.Linnet", "002.Wren"), (1, 2))
    write_index(tmp_path, index)
    assert (tmp_path / "bounding_boxes.txt").read_text() == TEXTS["bounding_boxes.txt"]
    assert read_index(tmp_path) == index


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images.txt", "2 a.jpg\n7\n", "F/images.txt, line 2: expected an id and 1 value(s), found '7'"),
        ("images.txt", "two a.jpg\n", "F/images.txt, line 1: expected an id and 1 value(s), found 'two a.jpg'"),
        ("images.txt", "\n\n", "F/images.txt lists no images"),
        ("images.txt", "2 a.jpg\n2 b.jpg\n", "F/images.txt, line 2: id 2 stands there twice"),
        (
            "bounding_boxes.txt",
            "2 1 2 3\n",
            "F/bounding_boxes.txt, line 1: expected an id and 4 value(s), found '2 1 2",
        ),
        ("bounding_boxes.txt", "2 1 2 3 4 5\n", "F/bounding_boxes.txt, line 1: expected an id and 4 value(s)"),
        ("bounding_boxes.txt", "2 1 2 3 x\n7 1 2 3 4\n", "F: image 2: could not convert string to float: 'x' in the"),
        ("bounding_boxes.txt", "2 1 2 3 4\n", "F: image 7 (001.Linnet/a.jpg) has no line in one of bounding_boxes"),
        ("image_class_labels.txt", "2 2\n", "F: image 7 (001.Linnet/a.jpg) has no line in one of"),
        ("train_test_split.txt", "7 1\n", "F: image 2 (002.Wren/b c.jpg) has no line in one of"),
        ("image_class_labels.txt", "2 2\n7 3\n", "F: image 7 has class 3, which classes.txt does not list"),
        ("image_class_labels.txt", "2 2\n7 one\n", "F: image 7: invalid literal for int()"),
        ("classes.txt", "", "F: image 2 has class 2, which classes.txt does not list"),
        ("train_test_split.txt", "2 0\n7 yes\n", "F: image 7: invalid literal for int()"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(raw: Path, name: str, text: str, message: str) -> None:
    assert error_of(raw, name, text).startswith(message)


@pytest.mark.parametrize("numbers", [(0, 1), (2, 7), (5, 400_000_000), (10**9, 10**30)])
def test_a_class_number_says_nothing_of_how_many_classes_there_are(raw: Path, numbers: tuple[int, int]) -> None:
    """A number of nine digits takes no more room than any other, and is found again by its own value."""
    first, second = numbers
    (raw / FOLDER / "classes.txt").write_text(f"{second} wren\n{first} linnet\n")
    (raw / FOLDER / "image_class_labels.txt").write_text(f"2 {second}\n7 {first}\n")
    index = read_index(raw)
    assert (index.class_names, index.class_numbers) == (("linnet", "wren"), numbers)
    assert [record.label for record in index.records] == [1, 0]
    write_index(raw / FOLDER, index)
    assert read_index(raw) == index


def test_a_split_is_zero_or_one(raw: Path) -> None:
    assert "image 7" in error_of(raw, "train_test_split.txt", "2 0\n7 2\n")


@pytest.mark.parametrize("name", INDEX_FILES[1:])
def test_a_missing_index_file_is_named(raw: Path, name: str) -> None:
    (raw / FOLDER / name).unlink()
    with pytest.raises(RawDataError, match=f"{FOLDER}: {name} missing; the layout is in docs/image-data"):
        find_folder(raw)


def test_a_folder_that_is_none_of_it(raw: Path, tmp_path: Path) -> None:
    (raw / FOLDER / "images").rmdir()
    with pytest.raises(RawDataError, match="images/ missing"):
        find_folder(raw)
    with pytest.raises(RawDataError, match=r"elsewhere: neither .* nor CUB_200_2011/images\.txt .* `linnet ingest`"):
        read_index(tmp_path / "elsewhere")


def path_of(raw: Path, name: str) -> Path | None:
    """Where the second image lies when it is called `name`."""
    (raw / FOLDER / "images.txt").write_text(f"2 b.jpg\n7 {name}\n")
    return read_index(raw).records[1].path


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", ".."])
def test_a_name_that_points_out_of_the_folder_has_no_path(raw: Path, name: str) -> None:
    assert path_of(raw, name) is None


@pytest.mark.parametrize("name", ["a.jpg", "001.Linnet/a b.jpg", "b..a/b..jpg"])
def test_any_other_name_lies_below_the_images(raw: Path, name: str) -> None:
    assert path_of(raw, name) == raw / FOLDER / "images" / name


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", ["\t", "   ", " \t "])
def test_tables_as_windows_writes_them(raw: Path, encoding: str, separator: str) -> None:
    expected = read_index(raw)
    for name, text in TEXTS.items():
        lines = [line.replace(" ", separator, 1 if name == "images.txt" else -1) for line in text.splitlines()]
        (raw / FOLDER / name).write_bytes("".join(f"{line}  \r\n" for line in lines).encode(encoding))
    assert read_index(raw) == expected


def test_names_with_backslashes_or_in_the_other_form_of_unicode_find_their_files(raw: Path) -> None:
    images = raw / FOLDER / "images"
    (images / "e\u0301").mkdir()
    for name in ("a.jpg", "e\u0301/b.jpg"):
        (images / name).touch()
    (raw / FOLDER / "images.txt").write_text("2 .\\a.jpg\n7 \u00e9\\b.jpg\n", encoding="utf-8")
    records = read_index(raw).records
    assert [record.path for record in records] == [images / "a.jpg", images / "e\u0301" / "b.jpg"]
    assert [record.name for record in records] == ["a.jpg", "\u00e9/b.jpg"]


@pytest.mark.parametrize("name", ["..\\secret.jpg", "a\\..\\..\\secret.jpg", "a/.hidden.jpg", "._a.jpg"])
def test_a_name_of_windows_that_points_out_and_a_hidden_one_have_no_path(raw: Path, name: str) -> None:
    (raw / FOLDER / "images" / "._a.jpg").touch()
    assert path_of(raw, name) is None


def test_the_only_folder_is_the_root(raw: Path) -> None:
    expected = read_index(raw)
    outer = raw / "outer"
    (outer / "mine").mkdir(parents=True)
    (raw / FOLDER).rename(outer / "mine" / "birds")
    for name in ("README.txt", "__MACOSX/._x"):
        (outer / name).parent.mkdir(exist_ok=True)
        (outer / name).touch()
    index = read_index(outer)
    assert find_folder(outer) == outer / "mine" / "birds"
    assert [record.name for record in index.records] == [record.name for record in expected.records]
    (outer / "mine" / "more").mkdir()
    with pytest.raises(RawDataError, match=r"outer: neither images\.txt nor"):
        find_folder(outer)


def test_class_folders_are_recognised_and_the_way_is_shown(tmp_path: Path) -> None:
    for name in ("cup/a.JPG", "plate/b.tif", "notes/c.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(
        RawDataError, match=r"holds pictures \(cup/, plate/\), but not .* `linnet to-caltech FOLDER OUT`"
    ):
        find_folder(tmp_path)


@pytest.mark.parametrize(("name", "missing"), [("images", "images/"), ("classes.txt", "classes.txt")])
def test_links_that_lead_nowhere_are_named_as_the_cause(raw: Path, name: str, missing: str) -> None:
    (raw / FOLDER / name).rename(raw / "unmounted")
    (raw / FOLDER / name).symlink_to("/mnt/gone")
    with pytest.raises(RawDataError, match=rf"{missing} missing; .* 1 links there lead nowhere \({name}\): bring back"):
        find_folder(raw)


def test_a_number_of_thousands_of_digits_is_refused(raw: Path) -> None:
    assert "line 1: an id of 5001 digits; at most 100 are read" in error_of(raw, "images.txt", "1" * 5001 + " a.jpg\n")


def test_one_table_that_is_missing_is_named_whichever_it_is(raw: Path) -> None:
    (raw / FOLDER / "images.txt").unlink()
    (raw / FOLDER / "images.txt").symlink_to(raw / "gone")
    with pytest.raises(RawDataError, match=r"images\.txt missing; .*links there lead nowhere \(images\.txt\)"):
        find_folder(raw)
