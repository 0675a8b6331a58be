"""Mistakes in recipes: every error names file, key, value and remedy."""

import math
from pathlib import Path

import pytest
import torch

from linnet.metrics.distances import FrechetDistance, KernelAudioDistance, KernelDistance, jackknife
from linnet.recipe import flatten
from linnet.recipe.load import RecipeError, load_recipe, parse_recipe
from linnet.recipe.restore import degradation_classes

RECIPES = Path(__file__).parents[3] / "recipes"
BIRDS, VOCALS, MUSIC = (
    (RECIPES / f"{name}.toml").read_text(encoding="utf-8") for name in ("birds", "vocals-demo", "music-demo")
)
IMAGE_KINDS = sorted(kind for kind, section in degradation_classes().items() if "images" in section.modalities)
TWO_SAMPLES = ("sample.num_files=2", "evaluate.kernel_subset_size=2")


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, where="recipes/birds.toml", overrides=overrides)
    return str(caught.value)


def replaced(old: str, new: str, text: str = BIRDS) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def test_an_unknown_key_names_file_key_table_and_nearest_key() -> None:
    assert error_of(replaced("log_every_steps", "log_evry_steps")).splitlines() == [
        "recipes/birds.toml: key 'log_every_steps' is missing in [train]; add it (a recipe has no defaults)",
        "recipes/birds.toml: unknown key 'log_evry_steps' in [train]; did you mean 'log_every_steps'?",
    ]
    text = replaced("num_steps = 5, ", "num_steps = 5, stesp = 5, ")
    assert error_of(text) == "recipes/birds.toml: unknown key 'stesp' in [sample.sampler]; did you mean 'num_steps'?"


def test_an_unknown_key_near_to_nothing_lists_the_valid_ones() -> None:
    message = error_of(replaced('model_name = "linnet-birds"', 'model_name = "linnet-birds"\nxyzzy = 1'))
    assert message == "recipes/birds.toml: unknown key 'xyzzy' in [register]; valid keys: gate, model_name"
    assert "unknown key 'banana' at the top" in error_of("banana = 1\n" + BIRDS)


def test_a_key_of_another_kind_is_not_suggested_for_itself() -> None:
    message = error_of(replaced('"adamw"', '"adam"'))
    assert message.startswith("recipes/birds.toml: unknown key 'weight_decay' in [train.optimizer]")
    assert "did you mean 'weight_decay'" not in message


def test_a_missing_table_is_named() -> None:
    text = BIRDS[: BIRDS.index("[register]")]
    assert error_of(text) == (
        "recipes/birds.toml: key 'register' is missing at the top; add it (a recipe has no defaults)"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 32", 'batch_size = "32"', "batch_size = '32' in [train]: it should be a valid integer"),
        ("batch_size = 32", "batch_size = 32.5", "batch_size = 32.5 in [train]: it should be a valid integer"),
        ("batch_size = 32", "batch_size = true", "batch_size = True in [train]: it should be a valid integer"),
        ("batch_size = 32", "batch_size = 0", "batch_size = 0 in [train]: it should be greater than 0"),
        ("[64, 128, 256, 512]", '[64, "a", 256, 512]', "widths[1] = 'a' in [model]: it should be a valid integer"),
        ("learning_rate = 3e-4", "learning_rate = nan", "learning_rate = nan in [train]: it should be a finite number"),
        ("ema_decay = 0.999", "ema_decay = 1.0", "ema_decay = 1.0 in [train]: it should be less than 1"),
        ("image_size_pixels = 64", "image_size_pixels = 60", "image_size_pixels = 60 in [data]: it should be a multip"),
        ("train_fraction = 0.8", "train_fraction = 1.5", "train_fraction = 1.5 in [data.split]: it should be less tha"),
        ('loss = "mse"', 'loss = "huber"', "loss = 'huber' in [diffusion]: it should be 'mse' or 'mae'"),
    ],
)
def test_a_wrong_value_names_file_key_value_and_table(old: str, new: str, message: str) -> None:
    assert error_of(replaced(old, new)).startswith(f"recipes/birds.toml: {message}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "ddim"', 'kind = "ddimm"', "[sample.sampler] kind = 'ddimm' is unknown; did you mean 'ddim'?"),
        ('kind = "cosine"', 'kind = "cosin"', "[diffusion.schedule] kind = 'cosin' is unknown; did you mean 'cosine'?"),
        ('kind = "adamw", ', "", "[train.optimizer] has no 'kind'; choose one of 'adam', 'adamw', 'muon'"),
    ],
)
def test_an_unknown_kind_suggests_the_nearest(old: str, new: str, message: str) -> None:
    assert error_of(replaced(old, new)) == f"recipes/birds.toml: {message}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sample.guidance_scale=3.0", "[sample] guidance_scale = 3, but [conditioning] kind = 'none' has no class"),
        ("register.gate.metric=kernel_fid", "[register.gate] metric = 'kernel_fid' is not computed by [evaluate]"),
        (
            'evaluate.features=["texture"]',
            "[register.gate] metric = 'fid' is not computed by [evaluate] features. Use ",
        ),
        ("sample.sampler.num_steps=1001", "[sample] num_steps = 1001 is more than [diffusion] num_timesteps = 1000"),
        ("sample.num_samples=999", "[evaluate] kernel_subset_size = 1000 is more than [sample] num_samples = 999"),
        (("sample.num_samples=2", *TWO_SAMPLES), "[sample] num_samples = 2 is too few: the interval of a distance"),
        ("sample.num_files=2351", "[sample] num_files = 2351 is more than num_samples = 2350"),
        ("train.warmup_kexamples=1886", "[train] warmup_kexamples is 1886, the whole run only duration_kexamples = 18"),
        ("model.widths=[8, 16, 16, 16]", "[model] widths has 8: with one channel a group, group norm would remove"),
        ("model.stem_channels=12", "[model] stem_channels = 12: group norm needs a multiple of 8"),
        ("model.attention_heads_by_level=[0]", "[model] attention_heads_by_level has 1 entries, widths has 4"),
        ("restore.num_steps=1001", "[restore] num_steps = 1001 is more than [diffusion] num_timesteps = 1000"),
        (
            "sample.length={ kind = 'longer', duration_seconds = 2.0, overlap_fraction = 0.5 }",
            "[sample] length kind = 'longer' is for audio. Use kind = 'as_trained'.",
        ),
        (
            "conditioning={ kind = 'multi_label', num_labels = 4, dropout = 0.1 }",
            "[conditioning] kind = 'multi_label', but an image has one class. Use 'class_label', 'text' or 'none'.",
        ),
        (
            'evaluate.features=["log_mel"]',
            "[evaluate] features has 'log_mel', which [data] kind = 'images' does not have. Use some of incep",
        ),
        (
            "restore.degradations=[{ name = 'a', kind = 'known_reverb', reverberation_seconds = 1.0, noise_std = 0 }]",
            f"[restore] degradation 'a': this kind is not for images, which know {', '.join(IMAGE_KINDS)}.",
        ),
        (
            "restore.degradations=[{ name = 'a', kind = 'super_resolution', factor = 3, noise_std = 0.0 }]",
            "[restore] degradation 'a': factor = 3 does not divide images of 64 x 64.",
        ),
    ],
)
def test_settings_that_contradict_each_other(override: str | tuple[str, ...], message: str) -> None:
    overrides = (override,) if isinstance(override, str) else override
    assert error_of(BIRDS, *overrides).startswith(f"recipes/birds.toml: {message}")


def test_three_samples_are_enough_for_every_distance_and_its_interval() -> None:
    """The least that a recipe may ask for is the least that can be measured."""
    least = ("sample.num_samples=3", *TWO_SAMPLES)
    assert parse_recipe(BIRDS, where="recipes/birds.toml", overrides=least).sample.num_samples == 3
    rng = torch.Generator().manual_seed(0)
    real, generated = (torch.randn(count, 1, 8, generator=rng, dtype=torch.float64) for count in (20, 3))
    for distance in (FrechetDistance("frechet"), KernelDistance("kernel", 2, 2, 0), KernelAudioDistance("audio")):
        from_real = distance.from_real(real)
        interval = jackknife(from_real, from_real(generated), generated)
        assert math.isfinite(interval.low)
        assert interval.low < interval.high


def test_an_example_must_be_divisible_as_often_as_the_network_halves_it() -> None:
    five_levels = ("model.widths=[16, 16, 16, 16, 16]", "model.attention_heads_by_level=[0, 0, 0, 0, 0]")
    assert error_of(BIRDS, *five_levels, "data.image_size_pixels=40") == (
        "recipes/birds.toml: [data] makes examples of 40 x 40, and 40 cannot be halved 4 times, as the 5 levels of "
        "[model] do. Use multiples of 16 or fewer levels."
    )
    assert parse_recipe(BIRDS, where="", overrides=[*five_levels, "data.image_size_pixels=48"]).data.folder == "birds"
    assert "128 x 60, and 60 cannot be halved 3 times, as the 4 levels" in error_of(VOCALS, "data.num_frames=60")
    padded = parse_recipe(MUSIC, where="", overrides=["data.num_frames=61", "restore.degradations=[]"])  # by the DiT
    assert padded.data.shape == (1, 128, 61)


def test_overrides_are_applied_and_checked(tmp_path: Path) -> None:
    recipe = load_recipe(
        RECIPES / "birds.toml", ["train.batch_size=8", "diffusion.loss=mae", "model.widths=[16, 16, 16, 16]"]
    )
    assert (recipe.train.batch_size, recipe.diffusion.loss, recipe.model.kind) == (8, "mae", "compact_unet")
    assert flatten(recipe)["model.widths"] == [16, 16, 16, 16]
    assert "unknown key 'stepz' in [train]" in error_of(BIRDS, "train.stepz=3")
    assert "batch_size = 'many' in [train]" in error_of(BIRDS, "train.batch_size=many")
    assert error_of(BIRDS, "nonsense") == "--set 'nonsense': write section.key=value, such as --set train.batch_size=64"
    assert error_of(BIRDS, "trian.batch_size=3") == "--set 'trian.batch_size=3': the recipe has no table [trian]"


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: cannot be read"):
        load_recipe(tmp_path / "absent.toml")
    path = tmp_path / "other.toml"
    path.write_text(BIRDS, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"other\.toml: name = 'birds', but the file is called 'other'"):
        load_recipe(path)
    path.write_text("name = oops", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"other\.toml: is not valid TOML: .*line 1"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"other\.toml: cannot be read"):
        load_recipe(path)
