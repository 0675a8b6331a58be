"""Recipes: what is shipped, what the document says, and hashes that see values alone."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomlkit

from linnet.recipe import (
    DDIM,
    Audio,
    CosineSchedule,
    Images,
    LinearSchedule,
    Recipe,
    flatten,
    metric_names,
    section_hash,
)
from linnet.recipe.load import RecipeError, load_recipe, parse_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
BIRDS, VOCALS, MUSIC = (
    (RECIPES / f"{name}.toml").read_text(encoding="utf-8") for name in ("birds", "vocals-demo", "music-demo")
)


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
    assert isinstance(recipe.data, Images)
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


Changes = dict[str, Any]
BIRDS_CHANGES: Changes = {
    "data.layout.exif_orientation": "ignore",
    "data.folder": "other", "data.image_size_pixels": 32, "data.split.train_fraction": 0.7, "data.split.seed": 1,
    "data.max_rejected_fraction": 0.002, "model.noise_injection": "input", "model.stem_channels": 32,
    "model.embedding_dims": 32, "model.widths": [64, 128, 256, 256], "model.blocks_per_level": 3,
    "model.attention_heads_by_level": [0, 0, 0, 4], "diffusion.schedule.num_timesteps": 999,
    "diffusion.schedule.offset": 0.009, "diffusion.prediction": "x0", "diffusion.loss": "mae",
    "train.duration_kexamples": 1887, "train.batch_size": 64, "train.learning_rate": 2e-4,
    "train.warmup_kexamples": 15, "train.learning_rate_decay": "cosine",
    "train.optimizer.beta1": 0.8, "train.optimizer.beta2": 0.99,
    "train.optimizer.weight_decay": 0.0, "train.max_gradient_norm": 2.0, "train.ema_decay": 0.99,
    "train.horizontal_flip": False, "train.precision": "fp32", "train.seed": 1, "train.log_every_steps": 99,
    "train.grid_every_kexamples": 31, "sample.sampler.num_steps": 6, "sample.sampler.eta": 0.5,
    "sample.sampler.spacing": "karras",
    "sample.num_samples": 2351, "sample.num_files": 63, "sample.seed": 1, "sample.weights": "raw",
    "sample.clip_x0": False, "sample.precision": "fp32", "restore.degradations.0.name": "other",
    "restore.degradations.0.factor": 2, "restore.degradations.0.noise_std": 0.1, "restore.degradations.1.name": "other",
    "restore.degradations.1.pattern": "square", "restore.degradations.1.missing_fraction": 0.4,
    "restore.degradations.1.noise_std": 0.1,
    "restore.num_examples": 9, "restore.num_draws": 2, "restore.num_steps": 21, "restore.spacing": "log_snr",
    "restore.eta": 0.8,
    "restore.eta_b": 0.9, "restore.below_noise": "matched", "restore.overlap_fraction": 0.4, "restore.seed": 1,
    "restore.weights": "raw", "restore.precision": "fp32", "evaluate.features": ["inception"],
    "evaluate.reference_split": "train", "evaluate.kernel_subsets": 99, "evaluate.kernel_subset_size": 999,
    "evaluate.seed": 1, "register.model_name": "other", "register.gate.metric": "kid",
    "register.gate.max_ratio_to_noise": 0.4, "register.gate.min_improvement": 0.1, "name": "other",
    "register.gate.when_incomparable": "promote",
}  # fmt: skip
SOUND_CHANGES: Changes = {
    "data.folder": "other", "data.label_separator": ";", "data.caption_column": "other", "data.sample_rate_hz": 16000,
    "data.stft.window_samples": 512, "data.stft.hop_samples": 60, "data.stride_frames": 33, "data.silence_dbfs": -60.0,
    "data.storage": "spectrogram", "data.split.train_fraction": 0.7, "data.split.seed": 1,
    "data.max_rejected_fraction": 0.2,
}  # fmt: skip
VOCALS_CHANGES: Changes = SOUND_CHANGES | {
    "data.builtin": "music", "data.labels_column": "other", "data.num_frames": 256,
    "model.channels": 48, "model.channel_multipliers": [1, 2, 2, 2], "model.blocks_per_level": 2,
    "model.attention_heads_by_level": [0, 0, 0, 4], "model.middle_attention_heads": 4, "model.norm_groups": 4,
    "model.timestep_injection": "shift", "model.resampling": "biggan", "model.frequency_layer.bottleneck": 8,
    "model.frequency_layer.min_units": 8, "model.dropout": 0.1,
    "restore.degradations.0.noise_std": 0.1,
    "restore.degradations.1.low_hz": 10.0, "restore.degradations.1.high_hz": 999.0,
    "restore.degradations.1.noise_std": 0.1,
    "restore.degradations.2.start_seconds": 0.02, "restore.degradations.2.gap_seconds": 0.02,
    "restore.degradations.2.noise_std": 0.1,
    "restore.degradations.3.cutoff_hz": 999.0, "restore.degradations.3.noise_std": 0.1,
    "restore.degradations.4.reverberation_seconds": 0.4, "restore.degradations.4.noise_std": 0.1,
    "restore.degradations.5.reverberation_seconds": 0.4, "restore.degradations.5.filter_frames": 3,
    "restore.degradations.5.noise_std": 0.1,
    **{f"restore.degradations.{place}.name": "other" for place in range(6)},
}  # fmt: skip
SOUND_TASKS = """restore.degradations=[
    { name = "a", kind = "denoise", noise_std = 0.2 },
    { name = "b", kind = "inpaint_bins", low_hz = 0.0, high_hz = 1000.0, noise_std = 0.0 },
    { name = "c", kind = "inpaint_frames", start_seconds = 0.01, gap_seconds = 0.01, noise_std = 0.0 },
    { name = "d", kind = "bandwidth_extension", cutoff_hz = 1000.0, noise_std = 0.0 },
    { name = "e", kind = "known_reverb", reverberation_seconds = 0.3, noise_std = 0.0 },
    { name = "f", kind = "blind_dereverberation", reverberation_seconds = 0.3, filter_frames = 2, noise_std = 0.0 },
]"""
MUSIC_CHANGES: Changes = SOUND_CHANGES | {
    "data.builtin": "voices", "data.storage": "waveform", "data.labels_column": "",
    "data.stft.keep_dc": True, "data.num_frames": 127,
    "data.representation.exponent": 0.6, "data.representation.phase_iterations": 33,
    "model.patch_size": 5, "model.patch_overlap": 1, "model.width": 64, "model.num_blocks": 5, "model.num_heads": 8,
    "model.mlp_ratio": 2, "model.dropout": 0.1, "conditioning.dropout": 0.2, "conditioning.encoder.num_buckets": 99,
    "conditioning.encoder.width": 32, "conditioning.encoder.num_heads": 8, "conditioning.encoder.max_words": 15,
    "sample.length.duration_seconds": 4.0, "sample.length.overlap_fraction": 0.4, "sample.guidance_scale": 3.5,
}  # fmt: skip
FROZEN_TEXT = "{ kind = 'hugging_face', model = 'a/b', revision = 'main', width = 64, max_tokens = 16 }"
SECTIONS = tuple(field.alias or name for name, field in Recipe.model_fields.items())


class Case(NamedTuple):
    text: str
    overrides: tuple[str, ...]
    where: tuple[str, ...]  # `changes` has every value below these, but `kind` and what is left out
    changes: Changes
    left_out: tuple[str, ...] = ()


CASES = {
    "birds": Case(BIRDS, (), SECTIONS, BIRDS_CHANGES, ("sample.guidance_scale",)),  # has to be 1 without a condition
    "vocals": Case(
        VOCALS,
        (SOUND_TASKS, "data.caption_column=captions"),
        ("data", "model", "restore.degradations"),
        VOCALS_CHANGES,
        ("data.stft.keep_dc",),  # an odd number of frequencies cannot be halved
    ),
    "music": Case(
        MUSIC,
        ("restore.degradations=[]", "data.caption_column=captions"),
        ("data", "model", "conditioning", "sample.length", "sample.guidance_scale"),
        MUSIC_CHANGES,
    ),
    "class_label": Case(
        BIRDS,
        ("conditioning={ kind = 'class_label', num_classes = 200, dropout = 0.1 }",),
        ("conditioning", "sample.guidance_scale"),
        {"conditioning.num_classes": 201, "conditioning.dropout": 0.2, "sample.guidance_scale": 2.0},
    ),
    "multi_label": Case(
        MUSIC,
        ("conditioning={ kind = 'multi_label', num_labels = 11, dropout = 0.1 }",),
        ("conditioning",),
        {"conditioning.num_labels": 12, "conditioning.dropout": 0.2},
    ),
    "frozen text": Case(
        MUSIC,
        (f"conditioning.encoder={FROZEN_TEXT}",),
        ("conditioning.encoder",),
        {
            f"conditioning.encoder.{key}": value
            for key, value in {"model": "a/c", "revision": "v1", "width": 63, "max_tokens": 15}.items()
        },
    ),
    "linear": Case(
        BIRDS,
        ("diffusion.schedule={ kind = 'linear', num_timesteps = 1000, beta_start = 1e-4, beta_end = 0.02 }",),
        ("diffusion.schedule",),
        {
            f"diffusion.schedule.{key}": value
            for key, value in {"num_timesteps": 999, "beta_start": 2e-4, "beta_end": 0.01}.items()
        },
    ),
}


def every_value(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """`("restore.degradations.1.factor", 4)` and so on: lists of tables are entered too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from every_value(inner, f"{place}.{key}".strip("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from every_value({str(number): inner for number, inner in enumerate(value)}, place)
    else:
        yield place, value


def values_of(recipe: Recipe) -> dict[str, Any]:
    return dict(every_value(recipe.model_dump(mode="json", by_alias=True)))


def changed(recipe: Recipe, place: str, value: Any) -> Recipe:
    values = table = recipe.model_dump(mode="json", by_alias=True)
    *path, last = place.split(".")
    for name in path:
        table = table[int(name)] if isinstance(table, list) else table[name]
    table[last] = value
    return parse_recipe(tomlkit.dumps(values), where="")


@pytest.mark.parametrize("name", CASES)
def test_the_hash_changes_with_every_single_value(name: str) -> None:
    text, overrides, where, changes, left_out = CASES[name]
    recipe = parse_recipe(text, where="", overrides=overrides)
    before = values_of(recipe)
    wanted = {place for place in before if any(place == part or place.startswith(f"{part}.") for part in where)}
    assert changes.keys() | set(left_out) == {place for place in wanted if not place.endswith(".kind")}
    hashes = {hashes_of(recipe)}
    for place, value in changes.items():
        other = changed(recipe, place, value)
        assert values_of(other) == before | {place: value}
        assert section_hash(other) != section_hash(recipe)
        hashes.add(hashes_of(other))
    assert len(hashes) == len(changes) + 1


def test_an_override_is_the_change_of_one_value() -> None:
    recipe = parse_recipe(VOCALS, where="", overrides=["data.stft.hop_samples=32", "restore.degradations=[]"])
    assert isinstance(recipe.data, Audio)
    assert (recipe.data.stft.hop_samples, recipe.restore.degradations) == (32, ())


def test_the_shape_of_an_example() -> None:
    """Complex: two channels; a window of 256 samples has 128 frequencies above 0, and 129 with it."""
    vocals, music, birds = (parse_recipe(text, where="").data for text in (VOCALS, MUSIC, BIRDS))
    assert isinstance(vocals, Audio)
    assert isinstance(music, Audio)
    assert vocals.shape == (2, 128, vocals.num_frames)
    assert vocals.window_samples == (vocals.num_frames - 1) * 64
    assert music.shape == (1, 128, music.num_frames)
    with_dc = parse_recipe(MUSIC, where="", overrides=["data.stft.keep_dc=true"]).data
    assert with_dc.shape == (1, 129, music.num_frames)
    assert birds.shape == (3, 64, 64)


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


def test_only_inception_distances_are_called_fid_and_kid_and_only_vggishs_fad_and_kad() -> None:
    assert metric_names("inception") == ("fid", "kid")
    assert metric_names("texture") == ("frechet_texture", "kernel_texture")
    assert metric_names("vggish") == ("fad", "kad")
    assert metric_names("log_mel") == ("frechet_log_mel", "kernel_log_mel")
    assert metric_names("scripted") == ("frechet_scripted", "kernel_scripted")


def test_the_training_part_holds_what_makes_a_model() -> None:
    recipe = parse_recipe(BIRDS, where="")
    training = recipe.training()
    assert set(training.model_dump()) == {"data", "model", "conditioning", "diffusion", "train"}
    assert training.train == recipe.train


def test_the_one_key_that_may_be_left_out() -> None:
    """Recipes of before it stay valid, and saying what holds anyway makes no other result."""
    layout = 'layout = { kind = "caltech" }'
    assert layout in BIRDS
    hashes = {
        words: section_hash(parse_recipe(BIRDS.replace(layout, layout[:-2] + words + " }"), where="").data)
        for words in ("", ', exif_orientation = "apply"', ', exif_orientation = "ignore"')
    }
    unsaid, applied, ignored = hashes.values()
    assert unsaid == applied != ignored
    with pytest.raises(RecipeError, match=r"exif_orientation"):
        parse_recipe(BIRDS.replace(layout, layout[:-2] + ", exif_orientation = true }"), where="")
