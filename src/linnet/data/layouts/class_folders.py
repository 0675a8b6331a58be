"""From a folder of class folders to the Caltech layout: copies of the pictures that can be read, and the five tables.

IMAGES/red_cup/0001.jpg          a folder for each class; folders below it belong to the class
IMAGES/train/red_cup/0001.jpg    or these below train, val, test and the like, which then are the official split
IMAGES/0001.jpg                  or no folders: one class, called as IMAGES is
"""

import csv
import shutil
import struct
import unicodedata
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from linnet.data.images import UnreadableFile, central_box
from linnet.data.layouts.base import Box, ImageIndex, ImageRecord, SplitName
from linnet.data.layouts.caltech import INDEX_FILES, PICTURE_SUFFIXES, write_index
from linnet.data.raw import RawDataError
from linnet.errors import first_line
from linnet.files import new_folder
from linnet.progress import ProgressBar, log
from linnet.walk import Walk, examples, shown, visible_entries, walk

LEFT_OUT = "left_out.csv"
SPLITS: dict[str, SplitName] = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "test", "valid": "test", "validation": "test", "dev": "test"},
}
HELD_OUT = 5  # where the folders do not say: one picture in so many
DECODED_PIXELS = 4_000_000  # larger pictures are not decoded to see whether they are whole
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
PNG_EXIF = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
NO_PIXELS = {"EPS", "MPEG"}  # of Pillow's formats: it knows their sizes, and cannot decode them on its own
# What Pillow's decoders raise at broken files, beside OSError.
DAMAGES = (SyntaxError, ValueError, TypeError, RuntimeError, LookupError, ArithmeticError, EOFError, MemoryError)


@dataclass(frozen=True)
class Placed:
    """A file in its class, before anybody has looked into it."""

    class_name: str
    name: str  # below the folder of its class
    split: SplitName
    source: str  # relative to the folder that was given
    path: Path


def to_caltech(images: Path, out: Path) -> ImageIndex:
    """Write the new folder `out` in the Caltech layout from the pictures in `images`; returns its index.

    Content decides what is a picture, not its suffix. The box of each is the largest square in its middle, as people
    see it: turned as EXIF says. What is no picture, or a broken one, is left out, counted, and listed in left_out.csv.

    Raises:
        RawDataError: `images` is no folder, holds no picture that can be read, or `out` is not new.
    """
    _check_folders(images, out)
    found = walk(images)
    left_out: list[tuple[str, str]] = []
    placed = list(_placed(images, found, left_out))
    with new_folder(out) as folder, ProgressBar("to-caltech: files", len(placed)) as bar:
        readable: list[tuple[Placed, Box]] = []
        for each in placed:
            try:
                box = central_box(*picture_size(each.path))
            except UnreadableFile as reason:
                left_out.append((each.source, str(reason)))
            else:
                target = folder / "images" / each.class_name / each.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(each.path, target)
                readable.append((each, box))
            bar.advance()
        if not readable:
            raise RawDataError(f"{images}: no picture there that can be read{_first_reason(left_out)}")
        index = _index(readable)
        write_index(folder, index)
        _write_left_out(folder / LEFT_OUT, left_out)
    _say(index, found, placed, left_out, out)
    return index


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as people see it; only a small one is decoded as a whole, to see whether it is one.

    Raises:
        UnreadableFile: it is no picture, or not a whole one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and metadata: nothing here depends on them
            with Image.open(path) as image:
                if isinstance(image, ImageFile.StubImageFile) or image.format in NO_PIXELS:
                    raise UnreadableFile(f"{image.format} is no picture of pixels")
                size = _seen_size(image)
                _check_whole(image, path.stat().st_size)
                return size
    except UnidentifiedImageError:
        is_known = path.suffix.lower() in PICTURE_SUFFIXES
        raise UnreadableFile("not a whole picture" if is_known else "no picture that Pillow reads") from None
    except Image.DecompressionBombError:
        raise UnreadableFile("image is absurdly large") from None
    except (OSError, struct.error, zlib.error, *DAMAGES) as reason:
        if isinstance(reason, UnreadableFile):
            raise
        detail = reason.strerror if isinstance(reason, OSError) and reason.errno else first_line(reason).split(" '")[0]
        raise UnreadableFile(f"not a whole picture ({detail})") from None


def _seen_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    if image.format == "TIFF":  # Pillow has turned it already
        return width, height
    if image.format == "PNG" and not PNG_EXIF & image.info.keys():  # else Pillow would decode all of it to look further
        return width, height
    return (height, width) if image.getexif().get(ExifTags.Base.Orientation) in TURNED else (width, height)


def _check_whole(image: Image.Image, file_bytes: int) -> None:
    """Raise what Pillow raises if the picture ends too early, as far as that shows in little memory."""
    width, height = image.size
    pixels = width * height
    if min(width, height) < 1:
        raise UnreadableFile("no pixels in it")
    if image.format in ("JPEG", "MPO"):
        is_progressive = "progressive" in image.info  # which is decoded at its full size before it is made smaller
        image.draft("RGB", (width // 8, height // 8))
        pixels = pixels if is_progressive else image.width * image.height
    if pixels <= DECODED_PIXELS:
        image.load()
    elif image.format == "PNG":
        image.verify()  # its checksums
    elif isinstance(image, ImageFile.ImageFile) and any(tile[2] >= file_bytes for tile in image.tile):
        raise UnreadableFile("not a whole picture (it ends too early)")


# --- folders and names ------------------------------------------------------------------------------------------------


def _check_folders(images: Path, out: Path) -> None:
    if images.is_file():
        raise RawDataError(f"{images}: a file; unpack it, and give the folder with the pictures")
    if not images.is_dir():
        raise RawDataError(f"{images}: no such folder; give the one with the pictures")
    if (images / INDEX_FILES[0]).is_file():
        raise RawDataError(f"{images}: is in the Caltech layout already; give it to `linnet ingest RECIPE --source`")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RawDataError(f"{out}: is there already; give a new folder, or remove it first")
    if out.resolve().is_relative_to(images.resolve()):
        raise RawDataError(f"{out}: lies in {images}, so that its copies would be pictures there; give another folder")


def _placed(images: Path, found: Walk, left_out: list[tuple[str, str]]) -> Iterator[Placed]:
    """All files with their classes and splits, sorted by both; each has a name of its own."""
    top = _top_folder(images)
    below = {name: path for name, path in found.texts().items() if path.is_relative_to(top)}
    parts = {name: path.relative_to(top).parts for name, path in below.items()}
    folders = {part[0] for part in parts.values() if len(part) > 1}
    has_splits = bool(folders) and all(folder.lower() in SPLITS for folder in folders)
    taken: set[str] = set()
    rows = []
    for name, path in below.items():
        *inner, file = (_table_text(part) for part in PurePosixPath(name).parts[-len(parts[name]) :])
        split: SplitName = SPLITS[inner.pop(0).lower()] if has_splits and inner else ""
        if not inner and folders and not has_splits:
            left_out.append((name, "lies beside the class folders"))
            continue
        class_name = inner.pop(0) if inner else _table_text(top.resolve().name)
        rows.append((class_name, "/".join([*inner, file]), split, name, path))
    for class_name, file, split, name, path in sorted(rows, key=lambda row: row[:3]):
        unique = _not_taken(f"{class_name}/{file}", taken).partition("/")[2]
        yield Placed(class_name, unique, split, name, path)
    left_out += [(name, f"not in {shown(top)}") for name in found.texts() if name not in below]


def _top_folder(images: Path) -> Path:
    """`images`, or the only folder in it where that holds nothing but the class folders."""
    top = images
    while True:
        entries = visible_entries(top)
        if len(entries) != 1 or not entries[0].is_dir():
            return top
        inner = visible_entries(entries[0])
        if not inner or not all(path.is_dir() for path in inner):
            return top
        top = entries[0]


def _table_text(name: str) -> str:
    """A name as a line of a table can hold it."""
    printable = "".join(" " if unicodedata.category(letter).startswith(("C", "Z")) else letter for letter in name)
    return " ".join(printable.replace("\\", "_").split()) or "_"


def _not_taken(name: str, taken: set[str]) -> str:
    """`name`, or with a number where another file has it already."""
    path, number, free = PurePosixPath(name), 2, name
    while free in taken:
        free, number = path.with_stem(f"{path.stem}_{number}").as_posix(), number + 1
    taken.add(free)
    return free


# --- what is written and said -----------------------------------------------------------------------------------------


def _index(readable: list[tuple[Placed, Box]]) -> ImageIndex:
    labels = {name: label for label, name in enumerate(sorted({each.class_name for each, _ in readable}))}
    seen, held_out = set[str](), 0
    records = []
    for number, (each, box) in enumerate(readable, start=1):
        is_due = number // HELD_OUT > held_out and each.class_name in seen  # each class has one to train on
        split = each.split or ("test" if is_due else "train")
        held_out += split == "test"
        seen.add(each.class_name)
        name = f"{each.class_name}/{each.name}"
        records.append(ImageRecord(number, name, each.path, box, labels[each.class_name], split))
    return ImageIndex(tuple(records), tuple(labels), tuple(range(1, len(labels) + 1)))


def _write_left_out(path: Path, left_out: list[tuple[str, str]]) -> None:
    if left_out:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("name", "reason"), *left_out])


def _first_reason(left_out: list[tuple[str, str]]) -> str:
    return f" ({len(left_out)} files, such as {left_out[0][0]}: {left_out[0][1]})" if left_out else ""


def _say(index: ImageIndex, found: Walk, placed: list[Placed], left_out: list[tuple[str, str]], out: Path) -> None:
    counts = Counter(index.class_names[record.label] for record in index.records)
    held_out = sum(record.official_split == "test" for record in index.records)
    classes = examples([f"{name} {count}" for name, count in counts.items()])
    log(f"{out}: {len(index.records)} images of {len(counts)} classes ({classes}), {held_out} of them held out")
    for note in found.notes():
        log(f"  {note}")
    names_by_reason = defaultdict(list)
    for name, reason in left_out:
        names_by_reason[reason].append(name)
    for reason, names in names_by_reason.items():
        log(f"  {len(names)} left out, {reason}: {examples(names)}")
    if empty := sorted({each.class_name for each in placed} - counts.keys()):
        log(f"  {len(empty)} folders without a readable picture are no classes: {examples(empty)}")
    if left_out:
        log(f"  all that was left out stands in {out / LEFT_OUT}")
