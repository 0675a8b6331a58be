"""repair of images: what was known of them stays."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnet.artifacts import Model
from linnet.commands import repair
from linnet.files import read_json, write_json
from linnet.inference.degradations import RestorationError, RestorationInput
from linnet.inference.diffusion_model import NoUnconditionalModeError
from linnet.recipe.restore import Denoise, InpaintPixels, SuperResolution
from support.audio_models import CPU
from support.tiny import tiny_recipe
from support.training import tiny_model


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of 16 x 16 birds."""
    folder = tmp_path_factory.mktemp("birds")
    recipe = tiny_recipe("train.duration_kexamples=0.032", "train.grid_every_kexamples=1000.0")
    return tiny_model(recipe, folder)


def image(folder: Path, width: int, height: int, *, darkest: int = 0) -> Path:
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 5, columns * 5, rows + columns], axis=-1) + darkest
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "mine.png")
    return folder / "mine.png"


PIXELS = InpaintPixels(name="holes", kind="inpaint_pixels", pattern="random", missing_fraction=0.5, noise_std=0.0)


def test_pixels_under_the_mask_alone_are_changed(birds: Path, tmp_path: Path) -> None:
    given = image(tmp_path, 40, 24)
    hole = np.zeros((24, 40), dtype=np.uint8)
    hole[5:12, 30:36] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    section = tiny_recipe().restore
    repair.run(
        section,
        PIXELS,
        RestorationInput(given, mask=tmp_path / "mask.png"),
        model=birds,
        out=tmp_path / "out",
        device=CPU,
    )
    with Image.open(given) as before, Image.open(tmp_path / "out" / "mine.png") as after:
        a, b = np.asarray(before), np.asarray(after)
    assert np.array_equal(a[hole == 0], b[hole == 0])
    assert not np.array_equal(a[hole > 0], b[hole > 0])


def test_a_turned_photograph_and_its_mask_are_seen_upright(birds: Path, tmp_path: Path) -> None:
    """The camera stores 40 x 24, people see 24 x 40; their mask may be stored either way."""
    given = image(tmp_path, 40, 24)
    with Image.open(given) as stored:
        pixels, exif = np.asarray(stored), stored.getexif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(given, exif=exif)
    hole = np.zeros((40, 24), dtype=np.uint8)
    hole[5:12, 3:9] = 255
    Image.fromarray(hole).save(tmp_path / "upright.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(hole))).save(tmp_path / "stored.png", exif=exif)
    found = []
    for mask in ("upright", "stored"):
        restoration = RestorationInput(given, mask=tmp_path / f"{mask}.png")
        repair.run(tiny_recipe().restore, PIXELS, restoration, model=birds, out=tmp_path / mask, device=CPU)
        with Image.open(tmp_path / mask / "mine.png") as after:
            assert 0x0112 not in after.getexif()
            found.append(np.asarray(after))
    upright = np.rot90(pixels, -1)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][hole == 0], upright[hole == 0])
    assert not np.array_equal(found[0][hole > 0], upright[hole > 0])


def test_means_of_blocks_stay_when_an_image_is_enlarged(birds: Path, tmp_path: Path) -> None:
    """To the rounding of their pixels; the neighbouring row or column would be off by 1 or 5."""
    given = image(tmp_path, 20, 12, darkest=90)
    degradation = SuperResolution(name="x2", kind="super_resolution", factor=2, noise_std=0.0)
    repair.run(
        tiny_recipe().restore, degradation, RestorationInput(given), model=birds, out=tmp_path / "out", device=CPU
    )
    with Image.open(given) as small, Image.open(tmp_path / "out" / "mine.png") as large:
        assert large.size == (40, 24)
        blocks = np.asarray(large, dtype=float).reshape(12, 2, 20, 2, 3)
        unclipped = ((blocks > 0) & (blocks < 255)).all(axis=(1, 3))
        assert unclipped.mean() > 0.9
        error = np.abs(blocks.mean(axis=(1, 3)) - np.asarray(small, dtype=float))
        assert error[unclipped].max() <= 0.5


def test_a_prior_without_an_unconditional_mode_is_refused(birds: Path, tmp_path: Path) -> None:
    shutil.copytree(birds, tmp_path / "model")
    values = read_json(tmp_path / "model" / Model.recipe, made_by="train")
    values["conditioning"]["dropout"] = 0.0
    write_json(tmp_path / "model" / Model.recipe, values)
    given = RestorationInput(image(tmp_path, 40, 24))
    degradation = Denoise(name="noisy", kind="denoise", noise_std=0.1)
    with pytest.raises(NoUnconditionalModeError, match=r"\[conditioning\] dropout = 0, .*or train with dropout = 0\.1"):
        repair.run(
            tiny_recipe().restore, degradation, given, model=tmp_path / "model", out=tmp_path / "out", device=CPU
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("width", "mask_width", "words"),
    [(40, None, "inpaint_pixels needs --mask"), (40, 41, "differ in size"), (8, 8, "8 x 24 pixels, this model needs")],
)
def test_images_that_do_not_fit_are_refused(
    birds: Path, tmp_path: Path, width: int, mask_width: int | None, words: str
) -> None:
    given, mask = image(tmp_path, width, 24), None
    if mask_width is not None:
        mask = tmp_path / "mask.png"
        Image.fromarray(np.zeros((24, mask_width), dtype=np.uint8)).save(mask)
    with pytest.raises(RestorationError, match=words):
        repair.run(
            tiny_recipe().restore,
            PIXELS,
            RestorationInput(given, mask=mask),
            model=birds,
            out=tmp_path / "out",
            device=CPU,
        )
