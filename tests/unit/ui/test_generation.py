"""What the page generates is what the command line generates, to the byte, on models trained for four steps."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from linnet.commands import generate as command
from linnet.inference.requests import GenerationRequest, default_seconds
from linnet.modalities.statistics import ImageStatistics
from linnet.models.conditioning import Condition
from linnet.ui import generation
from support.statistics import audio_statistics
from support.ui import CPU, built, nothing, request


def test_images_are_those_of_the_command_line(birds: Path, tmp_path: Path) -> None:
    model = built(birds, "birds-tiny")
    fractions: list[float] = []
    result = generation.generate(model, request(model, 4), fractions.append)
    assert fractions == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert (result.title, result.settings) == (
        "birds-tiny: 005.Violet_Swallow",
        f"seed 3, 5 steps of {model.section.sampler.kind}, guidance 1.5",
    )
    options = command.GenerateOptions(prompts=("5",), count=2, seed=3)
    command.run(
        model.section,
        options,
        model=birds / "birds-tiny" / "model",
        out=tmp_path / "generated",
        device=CPU,
        batch_size=8,
    )
    assert [preview.file_name for preview in result.examples] == ["seed3-00.png", "seed3-01.png"]
    for number, preview in enumerate(result.examples):
        assert preview.content == (tmp_path / "generated" / f"{number:06d}.png").read_bytes()
        image = np.asarray(Image.open(io.BytesIO(preview.content)))
        assert preview.image.shape == (256, 256, 3)
        assert np.array_equal(preview.image[8::16, 8::16], image)


@pytest.mark.parametrize(
    ("name", "prompt", "seconds", "samples"),
    [("music-tiny", "bell, fast", 0.0811, 649), ("album", "bell", 0.08, 640), ("album", "bell", 0.01, 80)],
)
def test_audio_are_those_of_the_command_line(
    music: Path, tmp_path: Path, name: str, prompt: str, seconds: float, samples: int
) -> None:
    model = built(music, name)
    condition: Condition = prompt if name == "music-tiny" else (prompt,)
    result = generation.generate(model, replace(request(model, condition), duration_seconds=seconds), nothing)
    assert result.title == f"{name}: {prompt}"
    assert result.settings == f"seed 3, 5 steps of {model.section.sampler.kind}, guidance 1.5, {seconds:g} s of audio"
    options = command.GenerateOptions((prompt,), 2, 3, 5, 1.5, seconds)
    command.run(
        model.section, options, model=music / name / "model", out=tmp_path / "generated", device=CPU, batch_size=8
    )
    for number, preview in enumerate(result.examples):
        assert preview.wav is not None
        heard, kept = (soundfile.read(io.BytesIO(file), dtype="int16") for file in (preview.wav, preview.content))
        assert np.array_equal(heard[0], kept[0])
        assert (len(heard[0]), heard[1], kept[1]) == (samples, 8000, 8000)
        assert preview.content == (tmp_path / "generated" / f"{number:06d}.flac").read_bytes()


def test_many_examples_are_generated_in_batches(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(birds, "free")
    whole = generation.generate(model, request(model, count=3), nothing)
    fractions: list[float] = []
    monkeypatch.setattr(generation, "BATCH_SIZE", 2)
    parts = generation.generate(model, request(model, count=3), fractions.append)
    assert len(fractions) == 10
    assert fractions[-1] == 1
    for one, other in zip(whole.examples, parts.examples, strict=True):
        assert np.abs(one.image.astype(int) - other.image).max() <= 1  # sums of floats differ with the batch


@pytest.mark.parametrize(
    ("steps", "timesteps"), [(50, [*range(49, 0, -5), -1]), (5, [49, 39, 29, 19, 9, -1]), (1, [49, -1])]
)
def test_denoising_goes_from_noise_to_the_example(birds: Path, steps: int, timesteps: list[int]) -> None:
    model = built(birds, "birds-tiny")
    asked = GenerationRequest(conditions=(2,) * 4, seed=3, num_steps=steps, guidance_scale=1.5)
    denoised = generation.denoise(model, asked, 1, nothing)
    snapshots = denoised.snapshots
    assert denoised.title == "birds-tiny: 003.Golden_Warbler"
    assert [snapshot.timestep for snapshot in snapshots] == timesteps
    noise = [snapshot.noise_fraction for snapshot in snapshots]
    assert noise == sorted(noise, reverse=True)
    assert noise[0] > 0.99
    assert noise[-1] == 0
    finished = generation.generate(model, asked, nothing).examples[1]
    assert np.abs(snapshots[-1].preview.image.astype(int) - finished.image).max() <= 1
    assert isinstance(model.statistics, ImageStatistics)
    start = np.random.default_rng([3, 1]).standard_normal((3, 16, 16), dtype=np.float32).transpose(1, 2, 0)
    pixels = np.clip(np.round(255 * (start * model.statistics.std + model.statistics.mean)), 0, 255)
    assert np.abs(snapshots[0].preview.image[8::16, 8::16] - pixels).max() <= 1
    assert generation.strip(snapshots).shape == (256, 256 * len(snapshots) + 2 * (len(snapshots) - 1), 3)


def test_long_audio_are_denoised_too(music: Path) -> None:
    model = built(music, "music-tiny")
    snapshots = generation.denoise(model, request(model, "bell"), 0, nothing).snapshots
    finished = generation.generate(model, request(model, "bell", count=1), nothing).examples[0]
    assert len(snapshots) == 6
    assert snapshots[-1].preview.content == finished.content
    assert snapshots[0].preview.content != finished.content


def test_suggestions_are_labels_of_the_training_data(birds: Path, music: Path) -> None:
    model = built(music, "music-tiny")
    labels = (["a", "b"], ["b", "c"], ["d"])
    statistics = audio_statistics(
        label_names=["a", "b", "c", "d"],
        recordings=[{"name": "", "labels": each, "caption": ""} for each in labels],
        recording_counts=[1, 4, 0],
    )
    known = replace(model, diffusion_model=replace(model.diffusion_model, statistics=statistics))
    assert generation.suggestions(known) == ["b", "c", "a"]
    assert set(generation.suggestions(model)) <= set(model.statistics.label_names)
    images = built(birds, "birds-tiny")
    assert sorted(generation.suggestions(images)) == images.statistics.label_names
    assert generation.example_prompt(known) == "a, b"
    unheard = replace(model.diffusion_model, statistics=statistics.model_copy(update={"recording_counts": [0, 0, 1]}))
    assert generation.example_prompt(replace(model, diffusion_model=unheard)) == "d"


def test_seconds_start_at_the_recipe_s(birds: Path, music: Path) -> None:
    models = (built(birds, "free"), built(music, "music-tiny"), built(music, "album"))
    assert [default_seconds(model.diffusion_model.recipe, model.section) for model in models] == [None, 0.05, 0.03]
