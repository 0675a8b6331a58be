"""What was observed stays, what was missing is made by the prior, and nobody else's example has a say."""

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.artifacts import Dataset
from linnet.data.arrays import open_array
from linnet.diffusion.schedule import NoiseSchedule, build_schedule
from linnet.inference.degradations import AnyDegradation, build_degradation
from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.inverse_problem import InverseProblem, noise_rows
from linnet.inference.restoration import observe, restore_examples, solve
from linnet.modalities.audio_codec import AudioCodec
from linnet.modalities.base import Codec
from linnet.models.denoising_network import DenoisingNetwork
from linnet.recipe import DegradationSection, NoiseLevel
from linnet.recipe.restore import BlindDereverberation, Denoise, InpaintBins, KnownReverb
from support.audio_models import CPU, Made, made
from support.tiny import tiny_audio_recipe

BAND = InpaintBins(name="band", kind="inpaint_bins", low_hz=1000.0, high_hz=2000.0, noise_std=0.0)
NOISY = Denoise(name="noisy", kind="denoise", noise_std=0.02)
ROOM = KnownReverb(name="room", kind="known_reverb", reverberation_seconds=0.01, noise_std=0.0)
BLIND = BlindDereverberation(
    name="blind", kind="blind_dereverberation", reverberation_seconds=0.01, filter_frames=4, noise_std=0.0
)


@pytest.fixture(scope="module", params=["voices", "music"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made("voices", tmp_path_factory)


def held_out(one: Made, count: int) -> Tensor:
    stored = open_array(one.dataset / Dataset.waveforms("test"))
    return one.codec.encode(torch.from_numpy(np.array(stored[:count])))


def solved(
    one: Made, degradation: DegradationSection, clean: Tensor, indices: list[int], *, num_draws: int = 1
) -> tuple[InverseProblem, Tensor]:
    """The restoration of these rows of `clean`, told apart by their indices."""
    diffusion_model = one.diffusion_model()
    section = one.recipe.restore.model_copy(update={"num_draws": num_draws})
    process = process_of(degradation, diffusion_model.codec, seed=section.seed)
    problem = process.pose(one.audio.shape)
    y = observe(problem, clean, seed=section.seed)
    return problem, solve(process, section, diffusion_model, problem, y[indices], indices)


def process_of(degradation: DegradationSection, codec: Codec, *, seed: int = 0) -> AnyDegradation:
    return build_degradation(degradation, codec, seed=seed, device=CPU)


def test_what_was_observed_without_noise_stays_to_the_bit(either: Made) -> None:
    clean = held_out(either, 2)
    problem, restored = solved(either, BAND, clean, [0, 1])
    missing = problem.mask.expand_as(clean)
    assert torch.equal(restored[~missing], clean[~missing])
    assert not torch.isclose(restored[missing], clean[missing], atol=1e-3).all(), "the prior has not seen it"
    assert bool(torch.isfinite(restored).all())


def test_the_mean_of_several_draws_keeps_it_too(either: Made) -> None:
    """To rounding; and it is another answer where something was missing."""
    clean = held_out(either, 2)
    problem, one = solved(either, BAND, clean, [0, 1])
    _, several = solved(either, BAND, clean, [0, 1], num_draws=3)
    missing = problem.mask.expand_as(clean)
    torch.testing.assert_close(several[~missing], clean[~missing], rtol=1e-4, atol=1e-4)
    assert not torch.isclose(several[missing], one[missing], atol=1e-3).all()


def test_every_draw_has_noise_of_its_own(either: Made) -> None:
    """Draw d of n of example i is the one restoration of example i n + d, were it the same example."""
    same = held_out(either, 1).repeat(4, 1, 1, 1)
    problem, drawn = solved(either, BAND, same, [0, 1], num_draws=2)
    _, single = solved(either, BAND, same, [0, 1, 2, 3])
    average = either.codec.average(torch.stack([single[0::2], single[1::2]]))
    missing = problem.mask.expand_as(drawn)
    torch.testing.assert_close(drawn[missing], average[missing], rtol=1e-3, atol=1e-3)
    assert not torch.isclose(single[0][missing[0]], single[1][missing[0]], atol=1e-3).all()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_draws_are_divided_into_batches_as_one_likes(either: Made, batch_size: int) -> None:
    clean, model = held_out(either, 3), either.diffusion_model()
    section = either.recipe.restore.model_copy(update={"num_draws": 3})
    process = process_of(BAND, model.codec, seed=section.seed)
    found = restore_examples(process, section, model, clean, batch_size).restored
    _, drawn = solved(either, BAND, clean, [0, 1, 2], num_draws=3)
    torch.testing.assert_close(found, model.codec.unstandardize(drawn), rtol=1e-3, atol=1e-3)


def test_a_known_room_is_undone_where_it_let_anything_through(voices: Made) -> None:
    clean = held_out(voices, 2)
    problem, restored = solved(voices, ROOM, clean, [0, 1])
    y = problem.operator.forward(clean)
    assert (problem.operator.forward(restored) - y).norm() < 1e-4 * y.norm()
    assert (y - clean).norm() > 0.1 * clean.norm(), "or there was no room"


@pytest.mark.parametrize("degradation", [BAND, NOISY, ROOM, BLIND], ids=lambda degradation: degradation.kind)
def test_a_restoration_does_not_depend_on_its_batch(voices: Made, degradation: DegradationSection) -> None:
    clean = held_out(voices, 3)
    _, together = solved(voices, degradation, clean, [0, 1, 2])
    apart = torch.cat([solved(voices, degradation, clean, [number])[1] for number in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-3)
    assert (together[0] - together[1]).norm() > 0.1 * together[0].norm()


class Oracle(DenoisingNetwork):
    """A network that has learnt one example by heart."""

    noise_level: NoiseLevel = "timestep"

    def __init__(self, clean: Tensor) -> None:
        super().__init__()
        self.clean = clean

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        return self.clean.expand_as(x_t)


class WhiteWaveforms(DenoisingNetwork):
    """The exact answer where audio is white noise of a known loudness: Wiener's filter on the waveform."""

    noise_level: NoiseLevel = "timestep"

    def __init__(self, codec: AudioCodec, schedule: NoiseSchedule, loudness: float) -> None:
        super().__init__()
        self.codec, self.schedule, self.loudness = codec, schedule, loudness

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        signal_rate, noise_rate = (rate.reshape(-1)[0] for rate in self.schedule.rates(noise_level.long()))
        heard = self.codec.waveform(self.codec.unstandardize(x_t / signal_rate))
        noise = noise_rate / signal_rate / noise_rows(self.codec, 1.0).max()  # of it, as loud as in the waveform
        kept = self.loudness**2 / (self.loudness**2 + noise**2)
        return self.codec.standardize(self.codec.spectrogram(kept * heard))


def test_noise_on_samples_is_taken_off_as_wiener_does(voices: Made) -> None:
    """The mean of many draws, with the exact prior. Taken for a quarter as strong, noise would be kept: 0.71 for 0.39.

    Scales are equal here, so that what no waveform has is at right angles to what some have.
    """
    loudness = 0.8 * NOISY.noise_std
    ones = [1.0] * voices.audio.stft.num_bins
    statistics = voices.statistics.model_copy(update={"scale": ones, "peak": [1e9] * len(ones)})
    recipe = tiny_audio_recipe("diffusion.prediction=x0").training()
    codec = AudioCodec(voices.audio, statistics, CPU)
    network = WhiteWaveforms(codec, build_schedule(recipe.diffusion.schedule), loudness)
    diffusion_model = DiffusionModel.of(network, recipe, statistics, CPU)
    generator = torch.Generator().manual_seed(0)
    clean = codec.spectrogram(loudness * torch.randn(8, voices.audio.window_samples, generator=generator))
    process = process_of(NOISY, codec)
    problem = process.pose(voices.audio.shape)
    y = observe(problem, clean, seed=0)
    section = voices.recipe.restore.model_copy(update={"num_steps": 60, "num_draws": 24, "below_noise": "matched"})
    restored = solve(process, section, diffusion_model, problem, y, list(range(8)))
    heard, given = (codec.waveform(x)[:, 64:-64].double() for x in (restored, process.as_example(problem, y)))
    kept = float((heard * given).sum() / given.square().sum())
    assert kept == pytest.approx(0.64 / 1.64, abs=0.03)


class Normalising(DenoisingNetwork):
    """The exact noise where x_0 is standard normal, in bf16, of an input brought to the loudness it is trained with."""

    noise_level: NoiseLevel = "timestep"

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
        _, noise_rate = self.schedule.rates(noise_level.long())
        return (noise_rate * x_t / x_t.square().mean().sqrt()).bfloat16()


def test_a_prior_that_predicts_noise_works_on_a_cosine_schedule(voices: Made) -> None:
    """Unclipped, a band of standard normals comes out 1,000 times too loud.

    x_0 is at first the noise's error over a signal rate near 0, and no later step makes up for it.
    """
    recipe = tiny_audio_recipe(
        "diffusion.prediction=epsilon", "diffusion.schedule.num_timesteps=4000", "sample.clip_x0=true"
    ).training()
    statistics = voices.statistics.model_copy(update={"peak": [4.0] * voices.audio.stft.num_bins})
    diffusion_model = DiffusionModel.of(Normalising(build_schedule(recipe.diffusion.schedule)), recipe, statistics, CPU)
    clean = torch.randn(1, *voices.audio.shape, generator=torch.Generator().manual_seed(0))
    process = process_of(BAND, diffusion_model.codec)
    problem = process.pose(voices.audio.shape)
    section = voices.recipe.restore.model_copy(update={"num_steps": 20})
    restored = solve(process, section, diffusion_model, problem, observe(problem, clean, seed=0), [0])
    found = restored[problem.mask.expand_as(clean)]
    assert 0.5 < float(found.square().mean().sqrt()) < 2


def test_noise_is_taken_off_by_a_prior_that_knows_the_answer(voices: Made) -> None:
    """The solver believes the prior below the noise of the observation."""
    clean = held_out(voices, 1)
    recipe = tiny_audio_recipe("diffusion.prediction=x0").training()
    diffusion_model = DiffusionModel.of(Oracle(clean), recipe, voices.statistics, CPU)
    process = process_of(NOISY, diffusion_model.codec)
    problem = process.pose(voices.audio.shape)
    y = observe(problem, clean, seed=0)
    section = voices.recipe.restore.model_copy(update={"num_steps": 40})
    before = problem.operator.pseudo_inverse(y) - clean
    after = solve(process, section, diffusion_model, problem, y, [0]) - clean
    left, put = ((x.double().square().mean(dim=(0, 1, 3)).sqrt()) for x in (after, before))
    assert bool((left < 0.3 * put).all())
