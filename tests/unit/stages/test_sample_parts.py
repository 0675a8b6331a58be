"""Drawing in parts gives the bits of drawing at once; parts that do not fit together are refused."""

import shutil
from pathlib import Path

import pytest
import torch

from linnet.artifacts import Model
from linnet.files import ArtifactError
from linnet.hashes import folder_hash
from linnet.recipe import Recipe
from linnet.stages import preprocess, sample, train
from support.tiny import tiny_music_recipe, tiny_raw_data, tiny_recipe

CPU = torch.device("cpu")
BATCH = 4  # of 12 samples: three batches


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny_recipe("sample.precision=bf16")


@pytest.fixture(scope="module")
def model(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    preprocess.run(recipe.data, raw=tiny_raw_data(folder / "raw"), out=folder / "dataset", workers=1)
    train.run(
        recipe,
        dataset=folder / "dataset",
        out=folder / "model",
        work=folder / "work",
        mirror=None,
        device=CPU,
        checkpoint_every_seconds=1e9,
        keep_checkpoint=False,
        track=False,
    )
    return folder / "model"


def draw(recipe: Recipe, model: Path, folder: Path, parts: int) -> list[Path]:
    made = [folder / f"part{number}" for number in range(parts)]
    for number, out in enumerate(made):
        sample.draw_part(recipe, model=model, out=out, device=CPU, batch_size=BATCH, part=number, parts=parts)
    return made


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_make_the_bytes_of_the_whole(recipe: Recipe, model: Path, tmp_path: Path, parts: int) -> None:
    sample.run(recipe, model=model, out=tmp_path / "whole", device=CPU, batch_size=BATCH)
    made = draw(recipe, model, tmp_path, parts)
    sample.collect(recipe, model=model, parts=made[::-1], out=tmp_path / "joined")  # engines promise no order
    assert folder_hash(tmp_path / "joined", leave_out=()) == folder_hash(tmp_path / "whole", leave_out=())


def test_batches_are_shared_out_whole_evenly_and_once() -> None:
    batches = [[number] for number in range(7)]
    shares = [sample.share(batches, part, 3) for part in range(3)]
    assert [batch for part in shares for batch in part] == batches
    assert [len(part) for part in shares] == [2, 2, 3]
    assert sample.share(batches[:1], 0, 4) + sample.share(batches[:1], 3, 4) == batches[:1]


@pytest.mark.parametrize(("seconds", "frames"), [(0.05, 26), (0.032, 17), (0.03, None)])
def test_samples_are_never_shorter_than_a_training_example(seconds: float, frames: int | None) -> None:
    """16 frames 2 ms apart last 30 ms."""
    longer = f"{{ kind = 'longer', duration_seconds = {seconds}, overlap_fraction = 0.5 }}"
    recipe = tiny_music_recipe(f"sample.length={longer}")
    assert sample.num_frames(recipe.training(), recipe.sample) == frames
    assert sample.num_frames(recipe.training(), tiny_recipe().sample) is None


def test_parts_that_do_not_fit_are_refused(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    made = draw(recipe, model, tmp_path, 3)
    out = tmp_path / "joined"
    for parts, words in (
        (made[:2], "4 of 12 samples are missing; run the missing parts"),
        ([*made, made[0]], "does not fit the other parts"),
    ):
        with pytest.raises(ArtifactError, match=words):
            sample.collect(recipe, model=model, parts=parts, out=out)
    other = tiny_recipe("sample.precision=bf16", "sample.seed=3")
    with pytest.raises(ArtifactError, match="made with other settings"):
        sample.collect(other, model=model, parts=made, out=out)
    images = made[1] / "samples.npy"
    data = bytearray(images.read_bytes())
    data[-1] ^= 1
    images.write_bytes(data)
    with pytest.raises(ArtifactError, match="part1 is damaged"):
        sample.collect(recipe, model=model, parts=made, out=out)
    assert not out.exists()


def test_parts_of_another_model_are_refused(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    made = draw(recipe, model, tmp_path, 1)
    other = tmp_path / "other"
    shutil.copytree(model, other)
    weights = other / Model.weights
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(ArtifactError, match="drawn from another model"):
        sample.collect(recipe, model=other, parts=made, out=tmp_path / "joined")
