"""The demo recipe made so small that every stage takes a second or two."""

from pathlib import Path

from linnet.data.synthetic import make_birds
from linnet.recipe import Recipe
from linnet.recipe_file import parse_recipe

ROOT = Path(__file__).parents[2]
OVERRIDES = (
    "name=birds-tiny",
    "data.image_size_pixels=16",
    "model.stem_channels=8",
    "model.embedding_dims=8",
    "model.widths=[16, 32]",
    "model.attention_heads_by_level=[0, 2]",
    "conditioning.num_classes=8",
    "diffusion.schedule.num_timesteps=50",
    "train.duration_kexamples=0.096",
    "train.batch_size=4",
    "train.warmup_kexamples=0.016",
    "train.log_every_steps=5",
    "train.grid_every_kexamples=0.04",
    "train.precision=fp32",
    "sample.sampler.num_steps=5",
    "sample.num_samples=12",
    "sample.num_files=3",
    "sample.precision=fp32",
    "restore.num_examples=2",
    "restore.num_steps=3",
    "restore.precision=fp32",
    "evaluate.kernel_subsets=2",
    "evaluate.kernel_subset_size=6",
    "register.model_name=linnet-birds-tiny",
    "register.gate.max_ratio_to_noise=1000.0",  # two dozen steps teach nothing
)


def tiny_recipe(*overrides: str) -> Recipe:
    """The tiny recipe, with more `section.key=value` changes."""
    text = (ROOT / "recipes" / "birds-demo.toml").read_text()
    return parse_recipe(text, where="tiny", overrides=(*OVERRIDES, *overrides))


def write_tiny_recipe(folder: Path, *overrides: str) -> Path:
    """The same as a file, for the command line."""
    import tomlkit

    path = folder / "birds-tiny.toml"
    values = tiny_recipe(*overrides).model_dump(mode="json", by_alias=True)
    path.write_text(tomlkit.dumps(values))
    return path


def tiny_raw_data(folder: Path) -> Path:
    """40 drawn birds."""
    make_birds(folder, per_species=5)
    return folder
