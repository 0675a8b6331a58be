"""The synthetic birds: the same bytes every time, in the official layout, with what makes the real set hard."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnet.data.layouts.base import Box, ImageRecord
from linnet.data.layouts.caltech import FOLDER, read_index
from linnet.data.synthetic.birds import GREY_EVERY, SPECIES, VERSION, draw_bird, make_birds
from linnet.hashes import folder_hash

PER_SPECIES = 12


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("birds")
    make_birds(folder, per_species=PER_SPECIES)
    return folder


def image_of(birds: Path, record: ImageRecord) -> Image.Image:
    with Image.open(birds / FOLDER / "images" / record.name) as image:
        image.load()
        return image


def box_of(record: ImageRecord) -> Box:
    assert record.box is not None
    return record.box


def test_each_version_has_one_content(tmp_path: Path) -> None:
    """data.dvc pins it; whoever changes the images raises VERSION, adds a line here and renews data.dvc."""
    make_birds(tmp_path)
    known = {1: "326607603c8784fadedddbe21395bec048af671895f49828ff39031d84165e79"}
    assert folder_hash(tmp_path) == known[VERSION]


def test_two_runs_are_byte_identical_and_two_seeds_are_not(birds: Path, tmp_path: Path) -> None:
    make_birds(tmp_path / "again", per_species=PER_SPECIES)
    assert folder_hash(tmp_path / "again") == folder_hash(birds)
    make_birds(tmp_path / "other", per_species=PER_SPECIES, seed=1)
    assert folder_hash(tmp_path / "other") != folder_hash(birds)


def test_the_index_lists_every_image_of_every_species(birds: Path) -> None:
    index = read_index(birds)
    assert [record.image_id for record in index.records] == list(range(1, len(SPECIES) * PER_SPECIES + 1))
    assert index.class_names == tuple(f"{place:03d}.{name}" for place, name in enumerate(SPECIES, start=1))
    assert np.bincount([record.label for record in index.records]).tolist() == [PER_SPECIES] * len(SPECIES)
    assert all(record.name.startswith(index.class_names[record.label] + "/") for record in index.records)
    assert sum(record.official_split == "train" for record in index.records) == len(index.records) // 2
    files = {path.relative_to(birds / FOLDER / "images").as_posix() for path in birds.rglob("*.jpg")}
    assert files == {record.name for record in index.records}


def test_some_images_are_grey(birds: Path) -> None:
    modes = {record.image_id: image_of(birds, record).mode for record in read_index(birds).records}
    assert {image_id for image_id, mode in modes.items() if mode == "L"} == {GREY_EVERY, 2 * GREY_EVERY}
    assert set(modes.values()) == {"L", "RGB"}


def test_boxes_have_area_touch_their_image_and_some_reach_past_its_edge(birds: Path) -> None:
    past_edge = 0
    aspects = []
    for record in read_index(birds).records:
        box, (width, height) = box_of(record), image_of(birds, record).size
        assert min(box.width, box.height) > 8
        assert box.left < width
        assert box.top < height
        assert min(box.left + box.width, box.top + box.height) > 0
        past_edge += box.left < 0 or box.top < 0 or box.left + box.width > width or box.top + box.height > height
        aspects.append(box.width / box.height)
    assert 1 <= past_edge < len(aspects) / 2
    assert max(aspects) / min(aspects) > 1.2


@pytest.mark.parametrize("label", range(len(SPECIES)))
def test_the_box_lies_around_the_bird(label: int) -> None:
    """Two species made from one seed differ in the bird alone, so their images differ in the boxes alone."""
    for seed in range(3):
        other_label = (label + 4) % len(SPECIES)  # the same body shape, other colours
        (image, box), (other, other_box) = (
            draw_bird(np.random.default_rng(seed), species) for species in (label, other_label)
        )
        assert image.size == other.size
        change = np.abs(np.asarray(image, dtype=int) - np.asarray(other, dtype=int)).max(axis=2)
        rows, columns = np.nonzero(change > 8)
        left, top = min(box.left, other_box.left), min(box.top, other_box.top)
        right = max(box.left + box.width, other_box.left + other_box.width)
        bottom = max(box.top + box.height, other_box.top + other_box.height)
        assert max(left, 0) - 2 <= columns.min() < columns.max() <= min(right, image.width) + 2
        assert max(top, 0) - 2 <= rows.min() < rows.max() <= min(bottom, image.height) + 2
        assert np.ptp(columns) > 0.6 * (min(right, image.width) - max(left, 0))
        assert np.ptp(rows) > 0.6 * (min(bottom, image.height) - max(top, 0))


def test_species_differ_in_colour(birds: Path) -> None:
    """The middle of the box tells the species: nearest mean colour is right far more often than one in eight."""
    centres, labels = [], []
    for record in read_index(birds).records:
        box, image = box_of(record), image_of(birds, record).convert("RGB")
        middle = (
            box.left + box.width * 0.3,
            box.top + box.height * 0.3,
            box.left + box.width * 0.7,
            box.top + box.height * 0.7,
        )
        centres.append(np.asarray(image.resize((1, 1), Image.Resampling.BOX, box=middle)).ravel().astype(float))
        labels.append(record.label)
    colours, truth = np.array(centres), np.array(labels)
    means = np.stack([colours[truth == label].mean(axis=0) for label in range(len(SPECIES))])
    nearest = np.argmin(np.linalg.norm(colours[:, None] - means, axis=-1), axis=1)
    assert (nearest == truth).mean() > 0.5
