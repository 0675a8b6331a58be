"""preprocess: arrays, labels, manifest, statistics and page tell the same story as the raw images."""

import json
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnet.artifacts import Dataset, read_provenance
from linnet.data.layouts.caltech import FOLDER, read_index
from linnet.data.raw import RawDataError
from linnet.data.synthetic.birds import make_birds
from linnet.hashes import folder_hash
from linnet.recipe import CaltechLayout, Images, OfficialSplit, SeededSplit
from linnet.reports.dataset import dataset_page
from linnet.stages import ingest, preprocess

SIZE = 32
REAL_BIRDS = Path(__file__).parents[3].parent / "shared" / "data" / "birds" / "originals" / "CUB_200_2011.tgz"


def birds(split: OfficialSplit | SeededSplit, *, size: int = SIZE, max_rejected_fraction: float = 0.0) -> Images:
    return Images(
        kind="images",
        layout=CaltechLayout(kind="caltech"),
        folder="birds",
        image_size_pixels=size,
        split=split,
        max_rejected_fraction=max_rejected_fraction,
    )


OFFICIAL = OfficialSplit(kind="official")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images of 8 species, one of them grey, some boxes past the edge."""
    folder = tmp_path_factory.mktemp("raw")
    make_birds(folder, per_species=6)
    return folder


@pytest.fixture(scope="module")
def dataset(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "dataset"
    preprocess.run(birds(OFFICIAL), raw=raw, out=out, workers=2)
    return out


def images(dataset: Path, split: str) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = np.load(dataset / Dataset.images(split), allow_pickle=False)
    return array


def reference_crop(path: Path, box: tuple[float, float, float, float], size: int) -> NDArray[np.float64]:
    """An independent reading: the whole image padded by its edges, a square around the box, plain bicubic."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    side = max(box[2], box[3])
    starts = []
    for start, extent, limit in ((box[0], box[2], width), (box[1], box[3], height)):
        free = start + extent / 2 - side / 2
        starts.append(free - max(0, free + side - limit) - min(0, free) if side <= limit else (limit - side) / 2)
    room = int(side) + 2
    padded = Image.fromarray(np.pad(pixels, ((room, room), (room, room), (0, 0)), mode="edge"))
    left, top = starts[0] + room, starts[1] + room
    square = padded.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.asarray(square).astype(np.float64)


def test_manifest_arrays_and_labels_agree_with_the_index(raw: Path, dataset: Path) -> None:
    manifest = pd.read_parquet(dataset / Dataset.manifest)
    lines = dict(line.split(" ", 1) for line in (raw / FOLDER / "images.txt").read_text().splitlines())
    assert dict(zip(manifest.image_id.astype(str), manifest["name"], strict=True)) == lines
    assert manifest.image_id.is_monotonic_increasing
    for split in ("train", "test"):
        rows = manifest[manifest["split"] == split]
        labels = np.load(dataset / Dataset.labels(split), allow_pickle=False)
        assert (labels.dtype, images(dataset, split).shape) == (np.dtype(np.int64), (len(rows), SIZE, SIZE, 3))
        assert rows["row"].tolist() == list(range(len(rows)))
        assert labels.tolist() == rows["label"].tolist() == [int(name[:3]) - 1 for name in rows["name"]]
        assert rows["class_name"].tolist() == [name.split("/")[0] for name in rows["name"]]


def test_each_row_holds_the_image_that_the_manifest_names(raw: Path, dataset: Path) -> None:
    manifest = pd.read_parquet(dataset / Dataset.manifest)
    expected, found = [], []
    for row in manifest.to_dict("records"):
        box = (row["box_left"], row["box_top"], row["box_width"], row["box_height"])
        expected.append(reference_crop(raw / FOLDER / "images" / row["name"], box, SIZE))
        found.append(images(dataset, row["split"])[row["row"]])
        with Image.open(raw / FOLDER / "images" / row["name"]) as image:
            assert image.size == (row["image_width"], row["image_height"])
    distances = np.abs(np.array(found)[:, None].astype(float) - np.array(expected)).mean(axis=(2, 3, 4))
    assert distances.diagonal().max() < 3
    assert (distances.argmin(axis=1) == np.arange(len(manifest))).all()


def test_the_official_split_is_that_of_its_file(raw: Path, dataset: Path) -> None:
    lines = [line.split() for line in (raw / FOLDER / "train_test_split.txt").read_text().splitlines()]
    manifest = pd.read_parquet(dataset / Dataset.manifest).set_index("image_id")
    assert {int(number): manifest.loc[int(number), "split"] for number, _ in lines} == {
        int(number): "train" if flag == "1" else "test" for number, flag in lines
    }


def test_statistics_are_those_of_the_arrays(raw: Path, dataset: Path) -> None:
    statistics = json.loads((dataset / Dataset.statistics).read_text())
    train, manifest = images(dataset, "train"), pd.read_parquet(dataset / Dataset.manifest)
    scaled = train.astype(np.float64) / 255
    np.testing.assert_allclose(statistics["mean"], scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(statistics["std"], scaled.std(axis=(0, 1, 2)), rtol=1e-10)
    assert statistics["size"] == SIZE
    assert (statistics["train_count"], statistics["test_count"], statistics["rejected_count"]) == (24, 24, 0)
    labels = np.load(dataset / Dataset.labels("train"), allow_pickle=False)
    assert statistics["class_counts"] == np.bincount(labels, minlength=8).tolist()
    assert statistics["class_names"][0] == "001.Ruby_Linnet"
    assert statistics["grey_count"] == 1  # number 47
    right, bottom = manifest.box_left + manifest.box_width, manifest.box_top + manifest.box_height
    past = (manifest.box_left < 0) | (manifest.box_top < 0)
    past |= (right > manifest.image_width) | (bottom > manifest.image_height)
    assert statistics["past_edge_count"] == past.sum()
    side, room = manifest[["box_width", "box_height"]].max(axis=1), manifest[["image_width", "image_height"]]
    assert statistics["padded_count"] == (side > room.min(axis=1)).sum()


def test_the_output_does_not_depend_on_the_number_of_workers(raw: Path, dataset: Path, tmp_path: Path) -> None:
    preprocess.run(birds(OFFICIAL), raw=raw, out=tmp_path / "one", workers=1)
    assert folder_hash(tmp_path / "one", leave_out=()) == folder_hash(dataset, leave_out=())


def test_a_repeat_has_nothing_to_do(
    raw: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dataset.stat().st_mtime_ns, dataset.stat().st_ino
    preprocess.run(birds(OFFICIAL), raw=raw, out=dataset, workers=2)
    assert capsys.readouterr().err == f"{dataset}: already made from this data and these settings\n"
    assert (dataset.stat().st_mtime_ns, dataset.stat().st_ino) == before
    assert read_provenance(dataset, made_by="preprocess")["inputs"].keys() == {"raw"}


def test_an_empty_split_is_an_error_and_leaves_nothing(raw: Path, tmp_path: Path) -> None:
    everybody = SeededSplit(kind="seeded", train_fraction=0.99, seed=0)
    with pytest.raises(
        RawDataError, match="47 examples to train on and 1 to test on, both must be 2 or more, and equal"
    ):
        preprocess.run(birds(everybody), raw=raw, out=tmp_path / "out", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_odd_about_the_split_is_said_and_on_the_page(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two held-out files are copies of training files, and a class is listed that has no image."""
    shutil.copytree(raw, tmp_path / "raw")
    base = tmp_path / "raw" / FOLDER
    records = read_index(tmp_path / "raw").records
    train, test = ([r.path for r in records if r.official_split == side and r.path] for side in ("train", "test"))
    for number in range(2):
        shutil.copyfile(train[number], test[number])
    with (base / "classes.txt").open("a") as file:
        file.write("400000000 dodo\n")
    preprocess.run(birds(OFFICIAL), raw=tmp_path / "raw", out=tmp_path / "out", workers=1)
    said = capsys.readouterr().err
    page = unescape(dataset_page(birds(OFFICIAL), tmp_path / "out"))
    for sentence in (
        "2 images are identical to another one, byte for byte: 2 held-out ones are training images too",
        "1 of 9 classes have no training examples, so that a model will not know them: dodo (class number 400000000)",
    ):
        assert sentence in said
        assert sentence in page


def test_real_birds(tmp_path: Path) -> None:
    if not REAL_BIRDS.is_file():
        pytest.skip(f"no real birds at {REAL_BIRDS}")
    data = birds(SeededSplit(kind="seeded", train_fraction=0.8, seed=0), size=64)
    ingest.run(data, source=str(REAL_BIRDS), out=tmp_path / "raw", work=tmp_path / "work")
    preprocess.run(data, raw=tmp_path / "raw", out=tmp_path / "out", workers=2)
    statistics = json.loads((tmp_path / "out" / Dataset.statistics).read_text())
    assert statistics["rejected_count"] == 0
    # four fifths of 80, and one of the two of a class that the seed would have held out whole
    assert (statistics["train_count"], statistics["test_count"]) == (65, 15)
    assert min(statistics["std"]) > 0.1
    manifest = pd.read_parquet(tmp_path / "out" / Dataset.manifest)
    differences = []
    for row in manifest[manifest["split"] == "test"].to_dict("records"):
        box = (row["box_left"], row["box_top"], row["box_width"], row["box_height"])
        expected = reference_crop(tmp_path / "raw" / FOLDER / "images" / row["name"], box, 64)
        if max(box[2:]) <= min(row["image_width"], row["image_height"]):  # no padding of either decode's edge
            differences.append(np.abs(images(tmp_path / "out", "test")[row["row"]] - expected).mean())
    assert len(differences) > 10
    assert max(differences) < 2.5
