"""The Caltech-UCSD Birds-200-2011 layout (Wah et al. 2011): an index of text files and a folder of images."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from linnet.data.layouts.base import Box, ImageIndex, ImageLayoutReader, ImageRecord, SplitName
from linnet.data.layouts.texts import read_text
from linnet.data.raw import RawDataError
from linnet.walk import NameFinder, broken_links, examples, is_ignored, visible_entries, walk

FOLDER = "CUB_200_2011"
MOST_DIGITS = 100  # of a number in a table; Python itself reads some thousands
INDEX_FILES = (
    "images.txt",
    "bounding_boxes.txt",
    "image_class_labels.txt",
    "classes.txt",
    "train_test_split.txt",
)
MOST_FOLDERS = 5  # lone folders in one another, before the one with the index
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}  # to guess by, only


class CaltechReader(ImageLayoutReader):
    """Reads the index of the original archive, or of a folder made like it."""

    def read_index(self, raw: Path) -> ImageIndex:
        """The index below `raw`, the data folder itself or the one that holds `CUB_200_2011`."""
        return read_index(raw)

    def copy(self, source: Path, raw: Path) -> None:
        """Copy the data folder alone, without what lies beside it."""
        super().copy(find_folder(source), raw / FOLDER)


def read_index(raw: Path) -> ImageIndex:
    """The index below `raw` (the data folder itself or the one that holds `CUB_200_2011`).

    Raises:
        RawDataError: an index file is missing or has a line that makes no sense; the message names both.
    """
    folder = find_folder(raw)
    names = _table(folder / "images.txt", columns=1)
    boxes = _table(folder / "bounding_boxes.txt", columns=4)
    labels = _table(folder / "image_class_labels.txt", columns=1)
    splits = _table(folder / "train_test_split.txt", columns=1)
    classes = _table(folder / "classes.txt", columns=1)
    if not names:
        raise RawDataError(f"{folder / 'images.txt'} lists no images")
    class_numbers = sorted(classes)  # a number says nothing of how many classes there are: it may have nine digits
    label_of = {number: label for label, number in enumerate(class_numbers)}
    files = NameFinder(walk(folder / "images").files)
    records = []
    for image_id in sorted(names):
        try:
            left, top, width, height = (float(value) for value in boxes[image_id])
            number, split = int(labels[image_id][0]), int(splits[image_id][0])
        except KeyError:
            raise RawDataError(
                f"{folder}: image {image_id} ({names[image_id][0]}) has no line in one of "
                "bounding_boxes.txt, image_class_labels.txt, train_test_split.txt"
            ) from None
        except ValueError as reason:
            raise RawDataError(f"{folder}: image {image_id}: {reason} in the index") from None
        if split not in (0, 1):
            raise RawDataError(f"{folder}: image {image_id} has split {split}; only 0 and 1 have a meaning")
        if number not in classes:
            raise RawDataError(f"{folder}: image {image_id} has class {number}, which classes.txt does not list")
        (name, path), box = _place(folder, files, names[image_id][0]), Box(left, top, width, height)
        official: SplitName = "train" if split == 1 else "test"
        records.append(ImageRecord(image_id, name, path, box, label_of[number], official))
    return ImageIndex(tuple(records), tuple(classes[number][0] for number in class_numbers), tuple(class_numbers))


def find_folder(raw: Path) -> Path:
    """The folder with the index files: `raw`, `CUB_200_2011` in it, or the only folder in it, and so on.

    Raises:
        RawDataError: it is not there, or something in it is missing; the message says what.
    """
    for folder in _candidates(raw):
        present = [name for name in INDEX_FILES if (folder / name).is_file()]
        if "images.txt" in present or len(present) > 1:  # one such as classes.txt other programs write, too
            missing = [name for name in INDEX_FILES if not (folder / name).is_file()]
            if not missing and (folder / "images").is_dir():
                return folder
            where = f"{folder}: {', '.join(missing) or 'images/'} missing"
            advice = "the layout is in docs/image-data.md. Complete it and ingest it again"
            raise RawDataError(f"{where}; {advice}{broken_links(folder)}")
    if classes := next(filter(None, map(_class_folders, _candidates(raw))), None):
        raise RawDataError(
            f"{raw}: holds pictures ({examples(classes)}), but not the five text files that docs/image-data.md shows. "
            "`linnet to-caltech FOLDER OUT` makes them from a folder of class folders; then OUT is the --source"
        )
    raise RawDataError(
        f"{raw}: neither images.txt nor {FOLDER}/images.txt is there. A --source is a folder or an archive in the "
        "layout of docs/image-data.md; below data/ `linnet ingest` (or `dvc pull`) brings it"
        + broken_links(raw, raw / FOLDER)
    )


def _candidates(raw: Path) -> Iterator[Path]:
    """Where the index may be: an archive often begins with one folder, whatever its name and whatever lies beside."""
    folder = raw
    for _ in range(MOST_FOLDERS):
        yield from (folder / FOLDER, folder)
        inner = [path for path in visible_entries(folder) if path.is_dir()] if folder.is_dir() else []
        if len(inner) != 1:
            return
        folder = inner[0]


def _class_folders(raw: Path) -> list[str]:
    """The folders at the top of `raw` with pictures in them, and `raw` itself."""
    if not raw.is_dir():
        return []
    folders = [raw, *(path for path in visible_entries(raw) if path.is_dir() and os.access(path, os.R_OK | os.X_OK))]
    return [
        f"{folder.name}/"
        for folder in folders
        if any(path.suffix.lower() in PICTURE_SUFFIXES for path in visible_entries(folder))
    ]


def _place(folder: Path, files: NameFinder, name: str) -> tuple[str, Path | None]:
    """The name in the table with /, and where its image lies; None if its name points out of the images folder."""
    found = files.find(name)
    relative = PurePosixPath(name if found == name else name.replace("\\", "/"))
    if found is not None:
        return relative.as_posix(), folder / "images" / found
    if relative.is_absolute() or ".." in relative.parts or any(map(is_ignored, relative.parts)):
        return relative.as_posix(), None
    return relative.as_posix(), folder / "images" / relative


def write_index(folder: Path, index: ImageIndex) -> None:
    """Write the five text files in the layout of the official archive; every record must have a box."""
    lines: Mapping[str, list[str]] = {
        "images.txt": [f"{r.image_id} {r.name}" for r in index.records],
        "bounding_boxes.txt": [f"{r.image_id} {_box_text(r.box)}" for r in index.records],
        "image_class_labels.txt": [f"{r.image_id} {index.class_numbers[r.label]}" for r in index.records],
        "train_test_split.txt": [f"{r.image_id} {int(r.official_split == 'train')}" for r in index.records],
        "classes.txt": [
            f"{number} {name}" for number, name in zip(index.class_numbers, index.class_names, strict=True)
        ],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")


def _box_text(box: Box | None) -> str:
    assert box is not None
    return f"{box.left:.1f} {box.top:.1f} {box.width:.1f} {box.height:.1f}"


def _table(path: Path, *, columns: int) -> dict[int, list[str]]:
    """`{id: values}`; with one column the rest of the line is one value, because names may hold spaces."""
    table: dict[int, list[str]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        head, *rest = line.split(maxsplit=1)  # at spaces and tabs
        values = [text.strip() for text in rest] if columns == 1 else " ".join(rest).split()
        if len(head) > MOST_DIGITS:
            raise RawDataError(f"{path}, line {number}: an id of {len(head)} digits; at most {MOST_DIGITS} are read")
        if not head.isdecimal() or len(values) != columns:
            raise RawDataError(f"{path}, line {number}: expected an id and {columns} value(s), found {line.strip()!r}")
        if int(head) in table:
            raise RawDataError(f"{path}, line {number}: id {head} stands there twice")
        table[int(head)] = values
    return table
