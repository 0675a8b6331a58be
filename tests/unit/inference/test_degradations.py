"""Restoration tasks as mathematics: what is missing where the recipe says so, and noise as loud as it says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.diffusion.reverb import decay
from linnet.inference.degradations import bin_frequencies, build_problem, made_up_room, noise_rows
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.modalities.dispatch import build_codec
from linnet.modalities.statistics import Statistics
from linnet.recipe import (
    BandwidthExtension,
    BlindDereverberation,
    ComplexSpectrogram,
    Denoise,
    Images,
    InpaintBins,
    InpaintFrames,
    InpaintPixels,
    KnownReverb,
    MagnitudeSpectrogram,
    RestorationTask,
    SuperResolution,
)
from linnet.recipe.load import load_recipe
from linnet.stages.restore import damage
from support.audio_section import SOUND
from support.statistics import audio_statistics, image_statistics

CPU = torch.device("cpu")
RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))
NOISE = 0.01
DATA = SOUND.model_copy(update={"num_frames": 64})  # 8 kHz, 64 samples every 16: bins 125 Hz apart, frames 2 ms


def statistics_of(num_bins: int) -> Statistics:
    """Scales that differ at every frequency."""
    scale = np.geomspace(3, 0.02, num_bins).tolist()
    return audio_statistics(mean=[0.0] * num_bins, scale=scale, peak=[9.0] * num_bins)


PICTURES = image_statistics(mean=[0.5, 0.4, 0.3], std=[0.25, 0.2, 0.1])
SOUNDS = build_codec(DATA, statistics_of(32), CPU)


def missing(task: RestorationTask, codec: Codec = SOUNDS, shape: tuple[int, int, int] = DATA.shape) -> torch.Tensor:
    return build_problem(task, codec, shape, seed=0, device=CPU).missing


def test_bins_are_where_they_audio() -> None:
    assert bin_frequencies(DATA).tolist() == [125.0 * number for number in range(1, 33)]
    with_dc = DATA.model_copy(update={"stft": DATA.stft.model_copy(update={"keep_dc": True})})
    assert bin_frequencies(with_dc).tolist() == [125.0 * number for number in range(33)]


@pytest.mark.parametrize("hz", [500.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_its_bin(hz: float) -> None:
    tone = torch.sin(2 * np.pi * hz * torch.arange(DATA.window_samples) / DATA.sample_rate_hz)
    codec = build_codec(DATA, statistics_of(32).model_copy(update={"scale": [1.0] * 32}), CPU)
    x = codec.encode(torch.round(tone * 20000).to(torch.int16)[None])
    loudest = int(x.square().sum(dim=(0, 1, 3)).argmax())
    assert bin_frequencies(DATA)[loudest] == hz


def test_a_band_is_missing_between_its_frequencies() -> None:
    task = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.0)
    found = missing(task)
    assert found.shape == (1, 32, 1)
    assert bin_frequencies(DATA)[found.flatten()].tolist() == [1000.0, 1125.0, 1250.0, 1375.0]


def test_all_above_a_cutoff_is_missing() -> None:
    task = BandwidthExtension(name="narrow", kind="bandwidth_extension", cutoff_hz=3600.0, noise_std=0.0)
    assert bin_frequencies(DATA)[missing(task).flatten()].tolist() == [3625.0, 3750.0, 3875.0, 4000.0]


def test_frames_are_missing_whose_window_touches_the_gap() -> None:
    """Windows of 8 ms: those of the frames at 8 and 24 ms reach to 12 and from 20 ms."""
    task = InpaintFrames(name="gap", kind="inpaint_frames", start_seconds=0.011, gap_seconds=0.01, noise_std=0.0)
    found = missing(task)
    assert found.shape == (1, 1, 64)
    assert found.flatten().nonzero().flatten().tolist() == list(range(4, 13)), "frames 2 ms apart"


def test_pixels_are_missing_as_many_as_said() -> None:
    codec, shape = build_codec(birds(), PICTURES, CPU), (3, 64, 64)
    random = InpaintPixels(name="r", kind="inpaint_pixels", pattern="random", missing_fraction=0.25, noise_std=0.0)
    found = missing(random, codec, shape)
    assert found.shape == (1, 64, 64), "all colours of a pixel"
    assert float(found.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(found, build_problem(random, codec, shape, seed=1, device=CPU).missing)
    assert torch.equal(found, build_problem(random, codec, shape, seed=0, device=CPU).missing)
    square = random.model_copy(update={"pattern": "square"})
    expected = torch.zeros(1, 64, 64, dtype=torch.bool)
    expected[:, 16:48, 16:48] = True
    assert torch.equal(missing(square, codec, shape), expected)


def test_the_observation_holds_what_is_not_missing_and_nothing_else() -> None:
    task = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.0)
    problem = build_problem(task, SOUNDS, DATA.shape, seed=0, device=CPU)
    clean = torch.randn(2, *DATA.shape, generator=torch.Generator().manual_seed(0))
    y = damage(problem, clean, seed=0)
    gone = problem.missing.expand_as(clean)
    assert torch.equal(y[~gone], clean[~gone])
    assert not y[gone].any()


def birds(size: int = 64) -> Images:
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "birds"))
    assert isinstance(recipe.data, Images)
    return recipe.data.model_copy(update={"image_size_pixels": size})


def noise_of_audio(count: int, *, white: bool) -> torch.Tensor:
    """What `NOISE` on the samples of silence is in the solver's units, [count, 2, 32, 64]."""
    task = Denoise(name="noisy", kind="denoise", noise_std=NOISE)
    problem = build_problem(task, SOUNDS, DATA.shape, seed=0, device=CPU)
    y = damage(problem, torch.zeros(count, *DATA.shape), seed=0)
    drawn = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return problem.whitened(y, drawn) if white else y


def test_noise_is_white_on_the_samples() -> None:
    assert isinstance(SOUNDS, AudioCodec)
    natural = noise_of_audio(50, white=False) * noise_rows(SOUNDS, NOISE) * SOUNDS.scale
    waveform = SOUNDS.waveform(natural)[:, 64:-64].double()
    assert float(waveform.std()) == pytest.approx(NOISE, rel=0.02)
    neighbours = (waveform[:, 1:] * waveform[:, :-1]).mean() / waveform.square().mean()
    assert abs(float(neighbours)) < 0.05, "but for the DC bin, which is guessed"


def test_the_solver_gets_noise_as_strong_as_it_is_told_and_independent_from_frame_to_frame() -> None:
    """In every bin and frame but the first and last, which reach beyond the ends; without whitening neither holds."""
    white, shared = (noise_of_audio(200, white=white)[..., 4:-4].double() for white in (True, False))
    strength = white.square().mean(dim=(0, 1, 3)).sqrt()
    torch.testing.assert_close(strength[1:-1], torch.ones_like(strength[1:-1]), rtol=0.03, atol=0)
    assert float(shared.std()) == pytest.approx(0.5, abs=0.02), "a quarter of the power: 64 / 16 frames share it"
    for axis in (2, 3):
        for distance in (1, 2):
            length = white.shape[axis] - distance
            together = white.narrow(axis, 0, length) * white.narrow(axis, distance, length)
            assert abs(float(together.mean())) < 0.05
    over_frames = (shared[..., 1:] * shared[..., :-1]).mean(dim=(0, 3)) / 0.25
    assert float(over_frames.abs().max()) > 0.3


def test_whitening_takes_nothing_away() -> None:
    assert isinstance(SOUNDS, AudioCodec)
    scale = noise_rows(SOUNDS, NOISE) * SOUNDS.scale
    before, after = (SOUNDS.waveform(noise_of_audio(3, white=white) * scale) for white in (False, True))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_white_noise_on_pixels_is_as_loud_in_x_as_noise_rows_says() -> None:
    codec = build_codec(birds(16), PICTURES, CPU)
    noise = NOISE * torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    measured = (codec.standardize(0.5 + noise) - codec.standardize(torch.full_like(noise, 0.5))).std(dim=(0, 2, 3))
    expected = noise_rows(codec, NOISE)
    assert expected.shape == (3, 1, 1)
    torch.testing.assert_close(measured, expected.flatten(), rtol=0.02, atol=0)


def test_noise_is_whitened_and_undone_by_the_pseudo_inverse() -> None:
    """The solver is told noise of 1 everywhere; in units of x it has the recipe's loudness at each frequency."""
    task = Denoise(name="noisy", kind="denoise", noise_std=NOISE)
    codec = build_codec(birds(16), PICTURES, CPU)
    problem = build_problem(task, codec, (3, 16, 16), seed=0, device=CPU)
    y = damage(problem, torch.zeros(64, 3, 16, 16), seed=0)
    assert float(y.std()) == pytest.approx(1, abs=0.02)
    in_x = problem.operator.pseudo_inverse(y).double().square().mean(dim=(0, 2, 3)).sqrt()
    torch.testing.assert_close(in_x, noise_rows(codec, NOISE).flatten().double(), rtol=0.05, atol=0)


def test_the_noise_of_an_example_does_not_depend_on_the_others() -> None:
    task = Denoise(name="noisy", kind="denoise", noise_std=NOISE)
    problem = build_problem(task, SOUNDS, DATA.shape, seed=0, device=CPU)
    clean = torch.zeros(3, *DATA.shape)
    assert torch.equal(damage(problem, clean, seed=4)[:1], damage(problem, clean[:1], seed=4))
    assert not torch.equal(damage(problem, clean, seed=4), damage(problem, clean, seed=5))


def test_a_made_up_room_decays_by_60_db_in_its_time() -> None:
    task = KnownReverb(name="room", kind="known_reverb", reverberation_seconds=0.05, noise_std=0.0)
    filters = made_up_room(task, DATA, (2, 4000, 64), np.random.default_rng(0))
    assert filters.shape == (4000, 26), "taps up to 0.05 s, every 2 ms"
    assert torch.equal(filters[:, 0], torch.ones(4000, dtype=filters.dtype)), "the direct audio"
    power = filters[:, 1:].abs().double().square().mean(dim=0)
    torch.testing.assert_close(power, decay(26, 0.05, 0.002)[1:], rtol=0.1, atol=0)


def test_a_room_lasts_no_longer_than_half_an_example() -> None:
    task = KnownReverb(name="room", kind="known_reverb", reverberation_seconds=10.0, noise_std=0.0)
    assert made_up_room(task, DATA, DATA.shape, np.random.default_rng(0)).shape == (32, 32)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_task_damages_and_is_undone_where_it_can_be(path: Path) -> None:
    """All shapes fit; what is observed without noise comes back, and noise is as loud as the solver is told."""
    recipe = load_recipe(path)
    shape = recipe.data.shape
    codec = build_codec(recipe.data, statistics_of(shape[1]) if recipe.data.kind == "audio" else PICTURES, CPU)
    clean = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    for task in recipe.restore.tasks:
        problem = build_problem(task, codec, shape, seed=0, device=CPU)
        quiet = problem.operator.forward(clean)
        noise = damage(problem, clean, seed=0) - quiet
        if task.noise_std == 0:
            assert not noise.any(), task.name
        else:
            drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
            white = problem.whitened(quiet + noise, drawn)
            told = (white - quiet) / problem.noise_std
            assert float(told[..., 4:-4].double().std()) == pytest.approx(1, abs=0.05), task.name
        takes_away = InpaintBins | InpaintFrames | InpaintPixels | BandwidthExtension
        assert bool(problem.missing.any()) == isinstance(task, takes_away), task.name
        assert not bool(problem.missing.all()), task.name
        back = problem.operator.pseudo_inverse(quiet)
        if isinstance(task, SuperResolution):
            torch.testing.assert_close(problem.operator.forward(back), quiet, rtol=1e-4, atol=1e-4)
        else:
            known = (~problem.missing).expand_as(clean)
            tolerance = 1e-2 if isinstance(task, KnownReverb | BlindDereverberation) else 1e-4
            torch.testing.assert_close(back[known], clean[known], rtol=0, atol=tolerance, msg=task.name)
        assert not torch.equal(quiet, clean), f"{task.name} does nothing"


def test_magnitudes_have_the_masks_of_complex_spectrograms() -> None:
    magnitude = MagnitudeSpectrogram(kind="magnitude", exponent=1.0, phase_iterations=1)
    codecs = [
        build_codec(DATA.model_copy(update={"representation": kind}), statistics_of(32), CPU)
        for kind in (magnitude, ComplexSpectrogram(kind="complex"))
    ]
    task = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=1500.0, noise_std=0.0)
    assert torch.equal(missing(task, codecs[0], (1, 32, 64)), missing(task, codecs[1]))
