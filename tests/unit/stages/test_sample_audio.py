"""sample with audio: files that play, tables that are true, samples longer than a training example."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from linnet.artifacts import Samples
from linnet.diffusion.samplers import PerSampleNoise
from linnet.hashes import folder_hash
from linnet.modalities.conditions import known_conditions
from linnet.recipe import DPMSolver
from linnet.reports.samples import samples_page
from linnet.stages import sample
from support.audio_models import BATCH, CPU, Made


def table(out: Path) -> list[dict[str, str]]:
    with (out / Samples.manifest).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_play_what_the_array_holds(either: Made, samples: Path) -> None:
    array = np.load(samples / Samples.examples)
    length = 400 if either.recipe.name == "music-tiny" else 240  # 0.05 s, or as trained
    assert (array.dtype, array.shape) == (np.int16, (12, length))
    rows = table(samples)
    assert [row["file"] for row in rows[:4]] == [f"files/00000{number}.flac" for number in range(3)] + [""]
    assert len(list((samples / Samples.files).iterdir())) == 3
    for number in range(3):
        info = soundfile.info(samples / rows[number]["file"])
        assert (info.samplerate, info.channels, info.format, info.subtype) == (8000, 1, "FLAC", "PCM_16")
        played, _ = soundfile.read(samples / rows[number]["file"], dtype="int16")
        assert np.array_equal(played, array[number])
    assert len({row.tobytes() for row in array}) == 12


def test_the_table_says_how_loud_each_one_is(samples: Path) -> None:
    array = np.load(samples / Samples.examples) / 32767
    for row, audio in zip(table(samples), array, strict=True):
        assert float(row["peak_dbfs"]) == pytest.approx(20 * np.log10(np.abs(audio).max()), abs=0.006)
        assert float(row["rms_dbfs"]) == pytest.approx(10 * np.log10(np.square(audio).mean()), abs=0.006)


def test_the_table_says_what_was_asked_for(either: Made, samples: Path) -> None:
    prompts = [row["condition"] for row in table(samples)]
    if either.recipe.name == "vocals-tiny":
        assert set(prompts) == {""}
        return
    known, counts = (
        known_conditions(either.recipe.conditioning, either.statistics),
        either.statistics.recording_counts,
    )
    assert set(prompts) <= {text for text, count in zip(known, counts, strict=True) if count}
    assert len(set(prompts)) > 2


def test_the_page_plays_without_anything_beside_it(either: Made, samples: Path) -> None:
    page = samples_page(either.recipe, samples)
    assert page.count("data:audio/wav;base64,") == 12
    assert "data:image/png;base64," in page
    assert "://" not in page


@pytest.mark.parametrize("num_shards", [2, 4])
def test_shards_make_the_bytes_of_the_whole(either: Made, samples: Path, tmp_path: Path, num_shards: int) -> None:
    made = [tmp_path / f"shard{number}" for number in range(num_shards)]
    for number, out in enumerate(made):
        sample.sample_shard(
            either.recipe,
            model=either.model,
            out=out,
            device=CPU,
            batch_size=BATCH,
            shard=number,
            num_shards=num_shards,
        )
    sample.collect(either.recipe, model=either.model, shards=made[::-1], out=tmp_path / "joined")
    assert folder_hash(tmp_path / "joined", leave_out=()) == folder_hash(samples, leave_out=())


def test_a_longer_sample_is_the_weighted_mean_of_overlapping_windows(music: Made) -> None:
    """Drawn in one step, which is one prediction: windows at 0, 8 and 16 of 32 frames, with weights sin^2."""
    diffusion_model = music.diffusion_model()
    common: dict[str, Any] = {
        "seed": 0,
        "conditions": None,
        "guidance_scale": 1.0,
        "clip_x0": True,
        "precision": "fp32",
    }
    once = DPMSolver(kind="dpm_solver_pp_2m", num_steps=1, spacing="trailing")
    found = diffusion_model.sample(once, **common, indices=[0], frames=32, overlap_fraction=0.5)
    noise = PerSampleNoise(0, [0], (1, 32, 32), CPU).next()
    windows = torch.cat([noise[..., start : start + 16] for start in (0, 8, 16)])
    (first, *_) = diffusion_model.schedule.sampling_timesteps(1, "trailing")
    predict = diffusion_model.predictor(None, 1.0, clip_x0=True, precision="fp32", overlap_fraction=0.5)
    with torch.inference_mode():
        predicted = predict(windows, first).double().numpy()
    weights = np.sin(np.pi * (np.arange(16) + 0.5) / 16) ** 2
    blend, total = np.zeros((1, 1, 32, 32)), np.zeros(32)
    for start, window in zip((0, 8, 16), predicted, strict=True):
        blend[..., start : start + 16] += weights * window
        total[start : start + 16] += weights
    np.testing.assert_allclose(found.numpy(), blend / total, rtol=0, atol=1e-5 * np.abs(blend).max())
    apart = np.concatenate([predicted[0], predicted[2]], axis=-1)
    assert np.abs(blend / total - apart).max() > 0.01 * np.abs(blend).max(), "the windows do not agree"
    assert len(diffusion_model.codec.decode(found)[0]) == 31 * 16


def test_a_longer_sample_of_two_examples_keeps_their_conditions_apart(music: Made) -> None:
    """The windows of a batch come in turns: each must get the words of its own example."""
    diffusion_model, section = music.diffusion_model(), music.recipe.sample
    words = ["flute, minor, fast, melody", "bell, major, slow, drums"]
    common: dict[str, Any] = {"seed": 0, "guidance_scale": 2.0, "clip_x0": True, "precision": "fp32", "frames": 40}
    both = diffusion_model.sample(section.sampler, indices=[0, 1], conditions=words, **common)
    alone = [
        diffusion_model.sample(section.sampler, indices=[number], conditions=[words[number]], **common)
        for number in range(2)
    ]
    swapped = diffusion_model.sample(section.sampler, indices=[0, 1], conditions=words[::-1], **common)
    assert (both - torch.cat(alone)).norm() < 0.05 * (both - swapped).norm(), "rounding, and no other words"
