"""Samples of several devices of one machine are those of one (here: CPUs, which stand in for equal GPUs)."""

from pathlib import Path

import pytest
import torch

from linnet.files import ArtifactError
from linnet.hashes import folder_hash
from linnet.recipe import Recipe
from linnet.tasks import sampling
from support.tiny import tiny_recipe
from support.training import tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny_recipe("sample.num_samples=130")  # three batches


@pytest.fixture(scope="module")
def model(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(recipe, tmp_path_factory.mktemp("model"))


def test_devices_change_no_sample(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    sampling.run(recipe, model=model, out=tmp_path / "one", devices=[CPU])
    sampling.run(recipe, model=model, out=tmp_path / "two", devices=[CPU, CPU])
    assert folder_hash(tmp_path / "one", leave_out=()) == folder_hash(tmp_path / "two", leave_out=())


def test_what_a_process_refuses_is_said_here(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing"):
        sampling.run(recipe, model=tmp_path / "nothing", out=tmp_path / "out", devices=[CPU, CPU])
    assert not (tmp_path / "out").exists()


def test_a_cpu_is_one_device() -> None:
    assert sampling.devices_here(CPU) == [CPU]
