"""The dataset's page, rendered from what preprocess wrote."""

import re
from html import unescape
from pathlib import Path

import pytest
from PIL import Image

from linnet.artifacts import Dataset
from linnet.data.colour_profiles import UNUSABLE
from linnet.data.synthetic.birds import make_birds
from linnet.files import ArtifactError
from linnet.recipe import CaltechLayout, Images, OfficialSplit
from linnet.reports.dataset import dataset_page
from linnet.stages import preprocess

DATA = Images(
    kind="images",
    folder="birds",
    layout=CaltechLayout(kind="caltech"),
    image_size_pixels=32,
    split=OfficialSplit(kind="official"),
    max_rejected_fraction=0.0,
)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    make_birds(tmp_path / "raw", per_species=6)
    preprocess.run(DATA, raw=tmp_path / "raw", out=tmp_path / "dataset", workers=2)
    return tmp_path / "dataset"


def test_the_page_shows_the_numbers_and_refers_to_nothing_outside(dataset: Path) -> None:
    page = dataset_page(DATA, dataset)
    addresses = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", page)
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"https?:|@import|url\(|<script|<link", page)
    text = unescape(re.sub(r"<[^>]+>|\s+", " ", page))
    assert "24 images to train on, 24 to test on, 0 rejected, 8 classes, 32 x 32 pixels" in re.sub(" +", " ", text)


def test_a_summary_that_is_missing_is_made_by_preprocess(dataset: Path) -> None:
    (dataset / Dataset.summary).unlink()
    with pytest.raises(ArtifactError, match=r"summary\.json is not there; run `linnet preprocess` first"):
        dataset_page(DATA, dataset)


def test_the_page_shows_what_was_done_and_what_looks_odd(tmp_path: Path) -> None:
    make_birds(tmp_path / "raw", per_species=6)
    paths = sorted((tmp_path / "raw").rglob("*.jpg"))
    for path in paths[:3]:
        Image.new("RGB", (500, 400), (9, 90, 200)).save(path, icc_profile=b"no profile")
    preprocess.run(DATA, raw=tmp_path / "raw", out=tmp_path / "dataset", workers=2)
    page = re.sub(r"\s+", " ", dataset_page(DATA, tmp_path / "dataset"))
    assert f'<td class="number">3</td><td>{UNUSABLE}</td>' in page
    assert '<td class="number">3</td><td>of one colour</td>' in page
    assert all(path.name in page for path in paths[:3])
    assert page.count('src="data:image/png') == 2
