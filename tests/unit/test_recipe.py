"""Recipes: what is shipped, what the document says, and hashes that see values alone."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from linnet.recipe import DDIM, CosineSchedule, LinearSchedule, Recipe, flatten, metric_names, section_hash
from linnet.recipe_file import RecipeError, load_recipe, parse_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
BIRDS = (RECIPES / "birds.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.model_dump(by_alias=True).keys() == tomllib.loads(path.read_text(encoding="utf-8")).keys()


@pytest.mark.parametrize("name", ["birds", "birds-compact", "birds-baseline"])
def test_the_documents_training_settings(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml")
    assert recipe.train.batch_size == 32
    assert recipe.train.learning_rate == 3e-4
    assert recipe.train.duration_kexamples == 1886 == 200 * 9430 / 1000
    assert recipe.data.image_size_pixels == 64
    schedule, sampler = recipe.diffusion.schedule, recipe.sample.sampler
    assert schedule.num_timesteps == 1000
    if name == "birds-baseline":
        assert isinstance(schedule, LinearSchedule)
        assert (schedule.beta_start, schedule.beta_end) == (1e-4, 0.02)
        assert (sampler.kind, sampler.num_steps) == ("ddpm", 1000)
    else:
        assert isinstance(schedule, CosineSchedule)
        assert schedule.offset == 0.008
        assert isinstance(sampler, DDIM)
        assert (sampler.num_steps, sampler.eta) == (5, 0.0)


def backwards(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: backwards(inner) for key, inner in list(value.items())[::-1]}
    return value


def test_the_hash_ignores_order_layout_and_comments() -> None:
    recipe = parse_recipe(BIRDS, where="")
    text = "# a comment\n" + tomlkit.dumps(backwards(tomllib.loads(BIRDS)))
    assert "split = {" not in text  # inline tables have become tables
    other = parse_recipe(text, where="")
    assert section_hash(recipe) == section_hash(other)
    assert section_hash(recipe.data, recipe.train) == section_hash(other.data, other.train)
    assert section_hash(recipe.data, recipe.train) != section_hash(recipe.train, recipe.data)


def hashes_of(recipe: Recipe) -> str:
    """Each section by itself, as stages use them, and the name."""
    sections = [getattr(recipe, name) for name in Recipe.model_fields if name != "name"]
    return " ".join([recipe.name, *(section_hash(section) for section in sections)])


def test_the_hash_changes_with_every_single_value() -> None:
    changes = {
        "data.folder": "other", "data.image_size_pixels": 32, "data.split.train_fraction": 0.7, "data.split.seed": 1,
        "data.max_rejected_fraction": 0.002, "model.noise_injection": "input", "model.stem_channels": 32,
        "model.embedding_dims": 32, "model.widths": [64, 128, 256, 256], "model.blocks_per_level": 3,
        "model.attention_heads_by_level": [0, 0, 0, 4], "diffusion.schedule.num_timesteps": 999,
        "diffusion.schedule.offset": 0.009, "diffusion.prediction": "x0", "diffusion.loss": "mae",
        "train.duration_kexamples": 1887, "train.batch_size": 64, "train.learning_rate": 2e-4,
        "train.warmup_kexamples": 15, "train.optimizer.beta1": 0.8, "train.optimizer.beta2": 0.99,
        "train.optimizer.weight_decay": 0.0, "train.max_gradient_norm": 2.0, "train.ema_decay": 0.99,
        "train.horizontal_flip": False, "train.precision": "fp32", "train.seed": 1, "train.log_every_steps": 99,
        "train.grid_every_kexamples": 31, "sample.sampler.num_steps": 6, "sample.sampler.eta": 0.5,
        "sample.num_samples": 2351, "sample.num_files": 63, "sample.seed": 1, "sample.weights": "raw",
        "sample.clip_x0": False, "sample.precision": "fp32", "evaluate.features": ["inception"],
        "evaluate.reference_split": "train", "evaluate.kernel_subsets": 99, "evaluate.kernel_subset_size": 999,
        "evaluate.seed": 1, "register.model_name": "other", "register.gate.metric": "kid",
        "register.gate.max_ratio_to_noise": 0.4, "register.gate.min_improvement": 0.1, "name": "other",
        "register.gate.when_incomparable": "promote",
    }  # fmt: skip
    recipe = parse_recipe(BIRDS, where="")
    left_out = {key for key in flatten(recipe) if key.endswith(".kind")} | {"sample.guidance_scale"}
    assert changes.keys() | left_out == flatten(recipe).keys()
    hashes = {hashes_of(recipe)}
    for key, value in changes.items():
        changed = parse_recipe(BIRDS, where="", overrides=[f"{key}={tomlkit.item(value).as_string()}"])
        assert flatten(changed)[key] == value
        assert section_hash(changed) != section_hash(recipe)
        hashes.add(hashes_of(changed))
    assert len(hashes) == len(changes) + 1


def test_flatten_shows_every_value_once_under_its_dotted_key() -> None:
    flat = flatten(parse_recipe(BIRDS, where=""))
    assert flat["train.batch_size"] == 32
    assert flat["train.optimizer.kind"] == "adamw"
    assert flat["register.gate.metric"] == "fid"  # the file's word, not the attribute's
    assert not any(isinstance(value, dict) for value in flat.values())


def test_steps_follow_from_examples_and_batch_size() -> None:
    train = parse_recipe(BIRDS, where="", overrides=["train.batch_size=100"]).train
    assert (train.num_steps, train.steps_for(16), train.steps_for(0.001)) == (18860, 160, 1)
    too_short = ("train.batch_size=100", "train.duration_kexamples=0.02", "train.warmup_kexamples=0")
    with pytest.raises(RecipeError, match="is less than one batch of 100"):
        parse_recipe(BIRDS, where="", overrides=too_short)


def test_only_inception_distances_are_called_fid_and_kid() -> None:
    assert metric_names("inception") == ("fid", "kid")
    assert metric_names("texture") == ("frechet_texture", "kernel_texture")


def test_the_training_part_holds_what_makes_a_model() -> None:
    recipe = parse_recipe(BIRDS, where="")
    training = recipe.training()
    assert set(training.model_dump()) == {"data", "model", "conditioning", "diffusion", "train"}
    assert training.train == recipe.train
