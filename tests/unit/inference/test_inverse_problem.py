"""The noise of an observation: as loud as the recipe says, and white where the solver takes it to be."""

import pytest
import torch

from linnet.diffusion.operators import Axis, Identity
from linnet.inference.inverse_problem import InverseProblem, noise_rows
from linnet.inference.restoration import observe
from linnet.recipe.restore import Denoise
from support.degradations import AUDIO, DATA, IMAGES, problem_of

NOISE = 0.01


def noise_of_audio(count: int, *, white: bool) -> torch.Tensor:
    """What `NOISE` on the samples of silence is in the solver's units, [count, 2, 32, 64]."""
    degradation = Denoise(name="noisy", kind="denoise", noise_std=NOISE)
    problem = problem_of(degradation)
    y = observe(problem, torch.zeros(count, *DATA.shape), seed=0)
    drawn = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return problem.whitened(y, drawn) if white else y


def test_noise_is_white_on_the_samples() -> None:
    natural = noise_of_audio(50, white=False) * noise_rows(AUDIO, NOISE) * AUDIO.scale
    waveform = AUDIO.waveform(natural)[:, 64:-64].double()
    assert float(waveform.std()) == pytest.approx(NOISE, rel=0.02)
    neighbours = (waveform[:, 1:] * waveform[:, :-1]).mean() / waveform.square().mean()
    assert abs(float(neighbours)) < 0.05, "but for the DC bin, which is guessed"


def test_the_solver_gets_noise_as_strong_as_it_is_given_and_independent_from_frame_to_frame() -> None:
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
    scale = noise_rows(AUDIO, NOISE) * AUDIO.scale
    before, after = (AUDIO.waveform(noise_of_audio(3, white=white) * scale) for white in (False, True))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_white_noise_on_pixels_is_as_loud_in_x_as_noise_rows_says() -> None:
    noise = NOISE * torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    measured = (IMAGES.standardize(0.5 + noise) - IMAGES.standardize(torch.full_like(noise, 0.5))).std(dim=(0, 2, 3))
    expected = noise_rows(IMAGES, NOISE)
    assert expected.shape == (3, 1, 1)
    torch.testing.assert_close(measured, expected.flatten(), rtol=0.02, atol=0)


def test_noise_is_whitened_and_undone_by_the_pseudo_inverse() -> None:
    """The solver is given noise of 1 everywhere; in units of x it has the recipe's loudness at each frequency."""
    degradation = Denoise(name="noisy", kind="denoise", noise_std=NOISE)
    problem = problem_of(degradation, IMAGES, (3, 16, 16))
    y = observe(problem, torch.zeros(64, 3, 16, 16), seed=0)
    assert float(y.std()) == pytest.approx(1, abs=0.02)
    in_x = problem.operator.pseudo_inverse(y).double().square().mean(dim=(0, 2, 3)).sqrt()
    torch.testing.assert_close(in_x, noise_rows(IMAGES, NOISE).flatten().double(), rtol=0.05, atol=0)


def test_noise_is_refused_where_channels_of_several_units_are_mixed() -> None:
    class Mixing(Identity):
        mixed_axes: tuple[Axis, ...] = (-3,)  # type: ignore[assignment]

    mask = torch.zeros(1, 1, 1, dtype=torch.bool)
    problem = InverseProblem(IMAGES, Mixing(), NOISE, mask, is_blind=False)
    with pytest.raises(AssertionError, match="the scale differs along axis -3 of x, which Mixing mixes"):
        observe(problem, torch.zeros(1, 3, 16, 16), seed=0)


def test_the_noise_of_an_example_does_not_depend_on_the_others() -> None:
    degradation = Denoise(name="noisy", kind="denoise", noise_std=NOISE)
    problem = problem_of(degradation)
    clean = torch.zeros(3, *DATA.shape)
    assert torch.equal(observe(problem, clean, seed=4)[:1], observe(problem, clean[:1], seed=4))
    assert not torch.equal(observe(problem, clean, seed=4), observe(problem, clean, seed=5))
