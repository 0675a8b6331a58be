"""On a GPU: the same stages in every precision, the same images as on a CPU."""

from pathlib import Path

import pytest
import torch

from linnet.commands import describe
from linnet.recipe import Recipe
from linnet.stages import preprocess, sample, train
from support.tiny import tiny_raw_data, tiny_recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU here"),
]


def train_on_gpu(recipe: Recipe, folder: Path) -> Path:
    train.run(
        recipe,
        dataset=folder / "dataset",
        out=folder / "model",
        work=folder / "work",
        mirror=None,
        device=torch.device("cuda"),
        checkpoint_every_seconds=1e9,
        keep_checkpoint=False,
        track=False,
    )
    return folder / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recipe = tiny_recipe()
    preprocess.run(recipe.data, raw=tiny_raw_data(tmp_path / "raw"), out=tmp_path / "dataset", workers=1)
    return tmp_path


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_trains_and_samples(folder: Path, precision: str) -> None:
    recipe = tiny_recipe(f"train.precision={precision}", f"sample.precision={precision}")
    model = train_on_gpu(recipe, folder)
    sample.run(recipe, model=model, out=folder / "samples", device=torch.device("cuda"), batch_size=5)
    assert (folder / "samples" / "noising.npy").is_file()


def test_gpu_and_cpu_generate_the_same_images(folder: Path) -> None:
    """One model, one seed: noise comes from the CPU's streams, so only rounding differs."""
    from linnet.inference.diffusion_model import DiffusionModel

    recipe = tiny_recipe()
    model = train_on_gpu(recipe, folder)
    images = []
    for device in ("cpu", "cuda"):
        diffusion_model = DiffusionModel.load(model, weights="ema", device=torch.device(device))
        x = diffusion_model.sample(
            recipe.sample.sampler,
            seed=3,
            indices=[0, 1, 2],
            conditions=[0, 1, 2],
            guidance_scale=2.0,
            clip_x0=True,
            precision="fp32",
        )
        images.append(x.cpu())
    torch.testing.assert_close(images[0], images[1], rtol=1e-2, atol=1e-2)


def test_describe_measures_gpu_memory() -> None:
    assert describe.run(tiny_recipe(), device=torch.device("cuda")).projected_memory_bytes > 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_what_one_trains(folder: Path) -> None:
    """Gradients are averaged by NCCL; in float32 the weights differ by rounding."""
    from safetensors.torch import load_file

    from linnet.tasks import training

    models = []
    for processes in (1, 2):
        out = folder / f"model{processes}"
        training.on_this_machine(
            tiny_recipe(),
            dataset=folder / "dataset",
            out=out,
            work=str(folder / f"work{processes}"),
            device=torch.device("cuda"),
            processes=processes,
            track=False,
        )
        models.append(load_file(out / "ema.safetensors"))
    assert max(float((models[0][key] - models[1][key]).abs().max()) for key in models[0]) < 1e-3
