"""From folders as people have them to the Caltech layout, and the script that docs/pictures.md gives them."""

import csv
import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from linnet.data.images import UnreadableFile
from linnet.data.layouts import class_folders
from linnet.data.layouts.base import Box
from linnet.data.layouts.caltech import read_index
from linnet.data.layouts.class_folders import picture_size, to_caltech
from linnet.data.raw import RawDataError

PAGE = Path(__file__).parents[4] / "docs" / "pictures.md"
ORIENTATION = 0x0112


def picture(path: Path, width: int = 30, height: int = 20, *, orientation: int = 0, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


def rows(out: Path) -> dict[str, tuple[str, str]]:
    """Class and split of each image by its name."""
    index = read_index(out)
    return {r.name: (index.class_names[r.label], r.official_split) for r in index.records}


def left_out(out: Path) -> dict[str, str]:
    with (out / "left_out.csv").open(newline="", encoding="utf-8") as file:
        return dict(list(csv.reader(file))[1:])


def test_the_script_of_the_docs_writes_the_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r'^("""From a folder of class folders.*?)^```', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    (tmp_path / "to_caltech.py").write_text(found[1])
    for number in range(6):
        picture(tmp_path / "in" / "red cup" / f"a {number}.jpg")
    picture(tmp_path / "in" / "plate" / "b.png")
    monkeypatch.setattr(sys, "argv", ["to_caltech.py", str(tmp_path / "in"), str(tmp_path / "out")])
    runpy.run_path(str(tmp_path / "to_caltech.py"), run_name="__main__")
    expected = {"plate/b.png": ("plate", "train")}
    expected |= {f"red cup/a {n}.jpg": ("red cup", "test" if n == 3 else "train") for n in range(6)}  # the fifth
    assert rows(tmp_path / "out") == expected
    assert (tmp_path / "out" / "images" / "plate" / "b.png").read_bytes() == (
        tmp_path / "in" / "plate" / "b.png"
    ).read_bytes()
    assert not (tmp_path / "out" / "left_out.csv").exists()


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "jfif", "png", "webp", "tif", "tiff", "bmp", "gif", "ppm"])
def test_all_that_pillow_reads_is_a_picture_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / "in" / "cup" / f"A.{suffix.upper()}")
    path.rename(path.with_suffix("" if suffix == "ppm" else path.suffix))
    index = to_caltech(tmp_path / "in", tmp_path / "out")
    assert [record.box for record in index.records] == [Box(5, 0, 20, 20)]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(9))
def test_boxes_are_of_the_picture_as_people_see_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = picture(tmp_path / "in" / "cup" / f"a.{suffix}", 30, 20, orientation=orientation)
    with Image.open(path) as image:
        seen = ImageOps.exif_transpose(image).size
    assert seen == ((20, 30) if orientation >= 5 else (30, 20))
    assert picture_size(path) == seen
    box = to_caltech(tmp_path / "in", tmp_path / "out").records[0].box
    assert box == (Box(0, 5, 20, 20) if orientation >= 5 else Box(5, 0, 20, 20))


def test_broken_files_and_what_is_none_are_left_out_counted_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    for name in ("cup/a.jpg", "cup/b.png", "cup/c.gif"):
        content = picture(source / name, 80, 60).read_bytes()
        (source / name.replace("cup", "half")).parent.mkdir(exist_ok=True)
        (source / name.replace("cup", "half")).write_bytes(content[: len(content) // 2])
    for name in ("cup/empty.jpg", "cup/notes.txt", "cup/._a.jpg", "cup/Thumbs.db", ".ipynb_checkpoints/a.jpg", "b.pdf"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"" if "empty" in name else b"\0\5\x16\7 no picture")
    (source / "cup" / "gone.jpg").symlink_to("nowhere.jpg")
    to_caltech(source, tmp_path / "out")
    assert rows(tmp_path / "out").keys() == {"cup/a.jpg", "cup/b.png", "cup/c.gif"}
    assert (tmp_path / "out" / "classes.txt").read_text() == "1 cup\n"
    assert left_out(tmp_path / "out").keys() == {
        *("half/a.jpg", "half/b.png", "half/c.gif", "cup/empty.jpg", "cup/notes.txt", "b.pdf")
    }
    said = capsys.readouterr().err
    for line in (
        f"{tmp_path / 'out'}: 3 images of 1 classes (cup 3), 0 of them held out",
        "1 links lead nowhere and are left out: cup/gone.jpg",
        "3 hidden files or files of the system are left out: .ipynb_checkpoints, cup/._a.jpg, cup/Thumbs.db",
        "1 left out, lies beside the class folders: b.pdf",
        "1 left out, no picture that Pillow reads: cup/notes.txt",
        "1 folders without a readable picture are no classes: half",
    ):
        assert line in said


def test_pictures_without_folders_are_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "cups" / "a.png")
    to_caltech(tmp_path / "cups", tmp_path / "out")
    assert rows(tmp_path / "out") == {"cups/a.png": ("cups", "train")}
    monkeypatch.chdir(tmp_path / "cups")
    to_caltech(Path(), tmp_path / "again")
    assert rows(tmp_path / "again") == rows(tmp_path / "out")


def test_folders_of_splits_are_the_split_and_a_lone_folder_is_passed_through(tmp_path: Path) -> None:
    for name in ("train/cup/a.png", "train/cup/b/a.png", "val/cup/a.png", "Test/plate/c.png"):
        picture(tmp_path / "in" / "set" / name)
    to_caltech(tmp_path / "in", tmp_path / "out")
    assert rows(tmp_path / "out") == {
        "cup/a.png": ("cup", "test"),
        "cup/a_2.png": ("cup", "train"),
        "cup/b/a.png": ("cup", "train"),
        "plate/c.png": ("plate", "test"),
    }


def test_each_class_keeps_an_example_to_train_on_and_every_fifth_is_held_out(tmp_path: Path) -> None:
    for label in range(5):
        for number in range(4):
            picture(tmp_path / "in" / f"class {label}" / f"{number}.png", 8, 8)
    to_caltech(tmp_path / "in", tmp_path / "out")
    splits = rows(tmp_path / "out")
    assert sum(split == "test" for _, split in splits.values()) == 20 // 5
    assert {name for name, split in splits.values() if split == "train"} == {f"class {n}" for n in range(5)}
    for number in range(1, 4):
        (tmp_path / "in" / "class 1" / f"{number}.png").unlink()  # the fifth picture is alone in its class
    to_caltech(tmp_path / "in", tmp_path / "again")
    assert rows(tmp_path / "again")["class 1/0.png"] == ("class 1", "train")


def test_links_are_followed_and_odd_names_fit_the_tables(tmp_path: Path) -> None:
    elsewhere = picture(tmp_path / "disk" / "x.png").parent
    source = tmp_path / "in"
    for name in (" a\tb\n.png", "a b .png", "back\\slash.png", os.fsdecode(b"caf\xe9.png")):
        picture(source / " red  cup" / name)
    (source / "linked").symlink_to(elsewhere)
    to_caltech(source, tmp_path / "out")
    records = read_index(tmp_path / "out").records
    assert {record.name for record in records} == {
        *("linked/x.png", "red cup/a b .png", "red cup/a b _2.png", "red cup/back_slash.png", "red cup/caf\u00e9.png")
    }
    assert all(record.path is not None and record.path.is_file() for record in records)
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "gif"])
def test_a_large_picture_is_not_decoded_for_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(class_folders, "DECODED_PIXELS", 1000)
    decoded: list[int] = []
    load = ImageFile.ImageFile.load

    def counted(image: ImageFile.ImageFile) -> object:
        decoded.append(image.width * image.height)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    path = picture(tmp_path / f"a.{suffix}", 64, 48)
    assert picture_size(path) == (64, 48)
    assert decoded == ([8 * 6] if suffix == "jpg" else [])
    with Image.open(path) as image:
        begin = image.tile[0][2]  # of its pixels in the file
    path.write_bytes(path.read_bytes()[: begin if suffix == "tif" else -2000])
    if suffix in ("jpg", "png", "tif"):  # the others end too early only for preprocess
        with pytest.raises(UnreadableFile, match="not a whole picture"):
            picture_size(path)


@pytest.mark.parametrize(
    ("images", "out", "message"),
    [
        ("absent", "out", "absent: no such folder"),
        ("a.zip", "out", r"a\.zip: a file; unpack it"),
        ("done", "out", "done: is in the Caltech layout already"),
        ("in", "full", "full: is there already; give a new folder"),
        ("in", "in/out", r"in/out: lies in .*in, so that"),
        ("empty", "out", "empty: no picture there that can be read$"),
        ("texts", "out", r"texts: no picture there that can be read \(2 files, such as b\.txt: no picture that"),
    ],
)
def test_folders_that_make_no_sense(tmp_path: Path, images: str, out: str, message: str) -> None:
    picture(tmp_path / "in" / "a.png")
    for name in ("a.zip", "full/x", "empty/.x", "texts/b.txt", "texts/c.txt", "done/images.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RawDataError, match=message):
        to_caltech(tmp_path / images, tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before
