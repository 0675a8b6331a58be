"""Sampling in shards gives the bits of sampling at once; shards that do not fit together are refused."""

import shutil
from pathlib import Path

import pytest
import torch

from linnet.artifacts import Model
from linnet.files import ArtifactError
from linnet.hashes import folder_hash
from linnet.recipe import Recipe
from linnet.stages import sample
from support.tiny import tiny_recipe
from support.training import tiny_model

CPU = torch.device("cpu")
BATCH = 4  # of 12 samples: three batches


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny_recipe("sample.precision=bf16")


@pytest.fixture(scope="module")
def model(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(recipe, tmp_path_factory.mktemp("model"))


def make_shards(recipe: Recipe, model: Path, folder: Path, num_shards: int) -> list[Path]:
    made = [folder / f"shard{number}" for number in range(num_shards)]
    for number, out in enumerate(made):
        sample.sample_shard(
            recipe, model=model, out=out, device=CPU, batch_size=BATCH, shard=number, num_shards=num_shards
        )
    return made


@pytest.mark.parametrize("num_shards", [1, 2, 3, 5])
def test_shards_make_the_bytes_of_the_whole(recipe: Recipe, model: Path, tmp_path: Path, num_shards: int) -> None:
    sample.run(recipe, model=model, out=tmp_path / "whole", device=CPU, batch_size=BATCH)
    made = make_shards(recipe, model, tmp_path, num_shards)
    sample.collect(recipe, model=model, shards=made[::-1], out=tmp_path / "joined")  # engines promise no order
    assert folder_hash(tmp_path / "joined", leave_out=()) == folder_hash(tmp_path / "whole", leave_out=())


def test_batches_are_shared_out_whole_evenly_and_once() -> None:
    batches = [[number] for number in range(7)]
    shares = [sample.batches_of_shard(batches, shard, 3) for shard in range(3)]
    assert [batch for share in shares for batch in share] == batches
    assert [len(share) for share in shares] == [2, 2, 3]
    assert sample.batches_of_shard(batches[:1], 0, 4) + sample.batches_of_shard(batches[:1], 3, 4) == batches[:1]


def test_shards_that_do_not_fit_are_refused(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    made = make_shards(recipe, model, tmp_path, 3)
    out = tmp_path / "joined"
    for shards, words in (
        (made[:2], "4 of 12 samples are missing; run the missing shards"),
        ([*made, made[0]], "does not fit the other shards"),
    ):
        with pytest.raises(ArtifactError, match=words):
            sample.collect(recipe, model=model, shards=shards, out=out)
    other = tiny_recipe("sample.precision=bf16", "sample.seed=3")
    with pytest.raises(ArtifactError, match="made with other settings"):
        sample.collect(other, model=model, shards=made, out=out)
    images = made[1] / "samples.npy"
    data = bytearray(images.read_bytes())
    data[-1] ^= 1
    images.write_bytes(data)
    with pytest.raises(ArtifactError, match="shard1 is damaged"):
        sample.collect(recipe, model=model, shards=made, out=out)
    assert not out.exists()


def test_shards_of_another_model_are_refused(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    made = make_shards(recipe, model, tmp_path, 1)
    other = tmp_path / "other"
    shutil.copytree(model, other)
    weights = other / Model.weights
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(ArtifactError, match="generated from another model"):
        sample.collect(recipe, model=other, shards=made, out=tmp_path / "joined")
