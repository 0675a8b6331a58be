"""preprocess: what cannot be used is counted and written down, up to a limit, and moves no other image."""

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from linnet.artifacts import Dataset
from linnet.data.layouts.caltech import FOLDER, read_index
from linnet.data.raw import RawDataError
from linnet.data.synthetic.birds import make_birds
from linnet.recipe import CaltechLayout, Images, SeededSplit
from linnet.reports.dataset import dataset_page
from linnet.stages import preprocess

COUNT = 24
REASONS = {
    2: "not a whole image (image file is truncated",
    5: "not a whole image (cannot identify image file)",
    8: "not a whole image (cannot identify image file)",
    11: "file is missing",
    12: "box has no area (0 x 30)",
    13: "box is not finite",
    17: "name points out of the images folder, or is a hidden file's",
    20: "box lies outside the image of ",
    23: "cannot be read (Is a directory)",
}


def birds(max_rejected_fraction: float) -> Images:
    return Images(
        kind="images",
        layout=CaltechLayout(kind="caltech"),
        folder="birds",
        image_size_pixels=16,
        split=SeededSplit(kind="seeded", train_fraction=0.75, seed=16),
        max_rejected_fraction=max_rejected_fraction,
    )


def replace_line(path: Path, image_id: int, values: str) -> None:
    lines = path.read_text().splitlines()
    assert lines[image_id - 1].startswith(f"{image_id} ")
    lines[image_id - 1] = f"{image_id} {values}"
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("damaged")
    make_birds(raw, per_species=3)
    base = raw / FOLDER
    paths = {record.image_id: base / "images" / record.name for record in read_index(raw).records}
    os.truncate(paths[2], paths[2].stat().st_size // 2)
    paths[5].write_text("<html>not found</html>")
    paths[8].write_bytes(b"")
    paths[11].unlink()
    replace_line(base / "bounding_boxes.txt", 12, "5.0 5.0 0.0 30.0")
    replace_line(base / "bounding_boxes.txt", 13, "nan 5.0 30.0 30.0")
    replace_line(base / "images.txt", 17, "../../secret.jpg")
    paths[17].rename(raw / "secret.jpg")
    replace_line(base / "bounding_boxes.txt", 20, "5000.0 5.0 30.0 30.0")
    paths[23].unlink()
    paths[23].mkdir()
    return raw


@pytest.fixture(scope="module")
def dataset(damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "dataset"
    preprocess.run(birds(len(REASONS) / COUNT), raw=damaged, out=out, workers=2)
    return out


def rejected(path: Path) -> list[tuple[int, str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["number", "name", "reason"]
    return [(int(number), name, reason) for number, name, reason in rows]


def test_every_unusable_image_is_listed_with_its_reason(damaged: Path, dataset: Path) -> None:
    names = {record.image_id: record.name for record in read_index(damaged).records}
    found = rejected(dataset / Dataset.rejected)
    assert [(number, name) for number, name, _ in found] == [(number, names[number]) for number in REASONS]
    for number, _, reason in found:
        assert reason.startswith(REASONS[number])
    page = dataset_page(birds(1.0), dataset)
    assert all(f"<td>{names[number]}</td>" in page for number in REASONS)


def test_all_others_are_there_and_keep_their_split(dataset: Path) -> None:
    """The split is over the whole index, so mending one file moves no other image, unless its class needs one."""
    in_train = set((np.random.default_rng(16).permutation(COUNT)[:18] + 1).tolist())
    manifest = pd.read_parquet(dataset / Dataset.manifest)
    assert manifest.image_id.tolist() == [number for number in range(1, COUNT + 1) if number not in REASONS]
    assert set(manifest[manifest["split"] == "train"].image_id) == in_train - REASONS.keys()
    for split in ("train", "test"):
        expected = (manifest["split"] == split).sum()
        assert (
            len(np.load(dataset / Dataset.images(split))) == len(np.load(dataset / Dataset.labels(split))) == expected
        )


def test_one_reject_past_the_limit_fails_and_keeps_the_list(damaged: Path, dataset: Path, tmp_path: Path) -> None:
    message = (
        rf"9 of 24 listed files were rejected, the recipe allows max_rejected_fraction = 0\.374 "
        rf"\(2 x not a whole image \(cannot identify image file\); .*All are listed in {tmp_path}/out-rejected\.csv"
    )
    with pytest.raises(RawDataError, match=message):
        preprocess.run(birds(0.374), raw=damaged, out=tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out-rejected.csv"]
    assert rejected(tmp_path / "out-rejected.csv") == rejected(dataset / Dataset.rejected)


def test_a_set_without_one_usable_image_is_an_error(tmp_path: Path) -> None:
    make_birds(tmp_path / "raw", per_species=1)
    for path in (tmp_path / "raw").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(RawDataError, match="0 examples to train on and 0 to test on"):
        preprocess.run(birds(1.0), raw=tmp_path / "raw", out=tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
