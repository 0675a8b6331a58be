"""describe says what a recipe says, and projects something sensible."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from linnet.commands import describe
from linnet.inference.reference_sets import UNTRAINED_STEPS
from linnet.models.build import build_network
from linnet.models.flops import count_flops
from linnet.models.memory import BatchMemoryError
from linnet.recipe import Recipe
from linnet.recipe.load import load_recipe
from linnet.training.memory import ALL_COPIES, step_memory
from support.tiny import tiny_audio_recipe, tiny_music_recipe, tiny_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
NAMES = ["birds", "birds-baseline", "birds-compact", "birds-demo", "vocals", "vocals-demo", "music-text", "music-demo"]
CPU = torch.device("cpu")


def recipe_of(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.toml")


@pytest.fixture(scope="module", autouse=True)
def short_measurements() -> Iterator[None]:
    """What the times are is no matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(describe, "WARMUP_SECONDS", 0.1)
        patch.setattr(describe, "MEASURE_SECONDS", 0.1)
        yield


@pytest.fixture(scope="module")
def described() -> describe.Description:
    return describe.run(tiny_recipe(), device=CPU)


def test_run_says_what_the_recipe_says(described: describe.Description) -> None:
    network = build_network(tiny_recipe().training())
    assert described.name == "birds-tiny"
    assert described.model == "compact_unet"
    assert described.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert described.steps == 24  # 96 examples in batches of 4
    assert described.examples == 96
    assert described.bytes_per_example == 16 * 16 * 3 + 8  # pixels and an int64 label
    assert described.flops_per_example_forward == count_flops(network, tiny_recipe().training())
    assert described.flops_per_example == 3 * described.flops_per_example_forward


def test_run_projects_times_and_memory(described: describe.Description) -> None:
    assert list(described.projected_hours_by_stage) == ["train", "sample", "restore", "evaluate"]
    assert all(0 < hours < 0.05 for hours in described.projected_hours_by_stage.values())
    assert described.projected_hours == pytest.approx(sum(described.projected_hours_by_stage.values()))
    assert 2**26 < described.projected_memory_bytes < 2**36


def test_description_is_plain_json_and_text(described: describe.Description) -> None:
    values = described.as_json()
    assert json.loads(json.dumps(values)) == values
    text = described.as_text()
    for part in (
        "birds-tiny",
        "examples/s",
        "attention by matrix products up to 512 tokens",
        f"{described.parameters:,} parameters",
        "96 examples in 24 steps",
        "776 bytes",
    ):
        assert part in text


def test_unconditional_images_come_without_labels() -> None:
    recipe = tiny_recipe("conditioning={kind='none'}", "train.duration_kexamples=0.102")
    described = describe.run(recipe, device=CPU)
    assert described.bytes_per_example == 16 * 16 * 3
    assert described.steps == 26  # 25.5, rounded to even
    assert described.examples == 104


@pytest.mark.parametrize(
    ("recipe", "stored"),
    [
        (tiny_audio_recipe(), 2 * 15 * 16),  # 16 frames 16 samples apart, of 2 bytes
        (tiny_audio_recipe("data.storage=spectrogram"), 4 * 2 * 32 * 16),
        (tiny_music_recipe(), 2 * 15 * 16 + 8),  # and the number of the recording
    ],
)
def test_audio_is_described_too(recipe: Recipe, stored: int) -> None:
    described = describe.run(recipe, device=CPU)
    assert described.model == recipe.model.kind
    assert described.bytes_per_example == stored
    assert all(0 < hours < 0.05 for hours in described.projected_hours_by_stage.values())


def test_projection_grows_with_the_work() -> None:
    """With a second for one kind of step and none for the others, the sums are known."""
    recipe = tiny_recipe("restore.num_draws=5")  # 24 steps, 12 samples in 5 steps, grids every 10 steps
    start = describe.STAGE_START_SECONDS
    seconds = describe._project(recipe, train_seconds=1.0, sample_seconds=0.0, plain_seconds=0.0)
    assert seconds == {"train": start + 24, "sample": start, "restore": start, "evaluate": start}
    sampling = describe._project(recipe, train_seconds=0.0, sample_seconds=1.0, plain_seconds=0.0)
    assert sampling == {
        "train": start,
        "sample": start + 12 * 5 + 2 * 100,
        "restore": start,
        "evaluate": start + 12 * UNTRAINED_STEPS,
    }
    plain = describe._project(recipe, train_seconds=0.0, sample_seconds=0.0, plain_seconds=1.0)
    assert plain["train"] == start + 3 * 36 * 10
    assert plain["restore"] == start + 2 * 2 * 5 * 3  # tasks, examples, draws, steps
    assert (plain["sample"], plain["evaluate"]) == (start, start)


def test_grids_and_restorations_are_not_timed_at_the_length_of_long_samples() -> None:
    """2 s in windows of 30 ms that overlap by half are over a hundred windows, and guidance doubles them."""
    length = "sample.length={ kind = 'longer', duration_seconds = 2.0, overlap_fraction = 0.5 }"
    long, plain = describe._time_sampling(tiny_music_recipe(length, "sample.num_samples=6"), CPU)
    assert long > 10 * plain
    same = "sample.length={ kind = 'as_trained' }"
    long, plain = describe._time_sampling(tiny_music_recipe(same, "sample.guidance_scale=1.0"), CPU)
    assert long == plain


@pytest.mark.parametrize(("units", "says"), [(True, False), (False, True)])
def test_a_precision_without_units_is_told_what_fp32_would_gain(
    units: bool, says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "WARMUP_SECONDS", 0.05)
    monkeypatch.setattr(describe, "MEASURE_SECONDS", 0.05)
    monkeypatch.setattr(describe, "has_units", lambda *_: units)
    found = describe.run(tiny_recipe("train.precision=bf16"), device=CPU)
    assert found.precision == "bf16"
    assert (found.fp32_gain is not None) == says
    assert ("times as fast (--set train.precision=fp32)" in found.as_text()) == says


def test_a_batch_that_does_not_fit_is_said_and_a_smaller_one_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe()
    memory = step_memory(recipe.training(), CPU, copies=ALL_COPIES)
    monkeypatch.setattr(describe, "available_on", lambda device: memory.of(3))
    described = describe.run(recipe, device=CPU)
    assert (described.largest_batch_size, described.measured_batch_size) == (3, 3)
    assert described.projected_memory_bytes == memory.of(4)
    assert described.steps == 24
    assert "train.batch_size = 4 does not fit" in described.as_text()
    assert "--set train.batch_size=3" in described.remedy


def test_where_not_one_example_fits_that_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "available_on", lambda device: 1 << 16)
    with pytest.raises(BatchMemoryError, match="not even one example fits"):
        describe.run(tiny_recipe(), device=CPU)
