"""For Gaussian x the posterior given y = H x + n is known, so DDRM has a right answer.

With a linear predictor DDRM is linear in its noise, so a run without noise gives the mean of all runs exactly.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from linnet.diffusion.operators import BlockAverage, FrequencyConvolution, Identity, LinearOperator, Mask, RowScaled
from linnet.diffusion.restoration import BelowNoise, ddrm, step_coefficients
from linnet.diffusion.samplers import PerSampleNoise, PredictX0
from linnet.diffusion.schedule import build_schedule
from linnet.recipe import CosineSchedule

CPU = torch.device("cpu")
COSINE = build_schedule(CosineSchedule(kind="cosine", num_timesteps=4000, offset=0.008))
SHAPE = (1, 4, 4)
SIZE = 16
KEPT = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]).bool()


class Silence:
    """The mean of all noise."""

    def next(self) -> Tensor:
        return torch.zeros(1, *SHAPE, dtype=torch.float64)


def covariance() -> Tensor:
    """Pixels a distance d apart are correlated by exp(-d^2 / 2), and each has some noise of its own."""
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double()
    return 0.95 * torch.exp(-(torch.cdist(places, places) ** 2) / 2) + 0.05 * torch.eye(SIZE, dtype=torch.float64)


SIGMA = covariance()


def best(x: Tensor, timestep: int) -> Tensor:
    """E[x_0 | x_t] = a Sigma (a^2 Sigma + (1 - a^2) I)^-1 x_t."""
    alpha_bar = float(COSINE.at(torch.tensor(timestep)))
    noisy = alpha_bar * SIGMA + (1 - alpha_bar) * torch.eye(SIZE, dtype=torch.float64)
    gain: Tensor = math.sqrt(alpha_bar) * torch.linalg.solve(noisy, SIGMA)
    return (x.flatten(1) @ gain).reshape(x.shape)


def draw() -> Tensor:
    noise = torch.randn(SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    root: Tensor = torch.linalg.cholesky(SIGMA)
    return (root @ noise).reshape(1, *SHAPE)


def observation(operator: LinearOperator, noise_std: float) -> Tensor:
    y = operator.forward(draw())
    return y + noise_std * torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def posterior_mean(operator: LinearOperator, y: Tensor, noise_std: float) -> Tensor:
    """Sigma H^T (H Sigma H^T + sigma_y^2 I)^+ y."""
    h = operator.forward(torch.eye(SIZE, dtype=torch.float64).reshape(-1, *SHAPE)).flatten(1).T
    y = y.where(operator.forward(torch.ones(1, *SHAPE, dtype=torch.float64)) != 0, 0.0)  # a mask's zeros say nothing
    noisy = h @ SIGMA @ h.T + noise_std**2 * torch.eye(len(h), dtype=torch.float64)
    inverse: Tensor = torch.linalg.pinv(noisy, rtol=1e-12)
    return (SIGMA @ h.T @ inverse @ y.flatten()).reshape(1, *SHAPE)


def mean_error(operator: LinearOperator, noise_std: float, num_steps: int, below_noise: BelowNoise) -> float:
    """How far the mean of all draws is from the posterior's."""
    y = observation(operator, noise_std)
    mean = ddrm(
        operator,
        y,
        noise_std,
        COSINE,
        best,
        Silence(),
        num_steps=num_steps,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise=below_noise,
    )
    return float((mean - posterior_mean(operator, y, noise_std)).abs().max())


@pytest.mark.parametrize(
    ("operator", "tolerance"), [(Mask(KEPT), 0.03), (BlockAverage(2), 0.003)], ids=["inpainting", "super-resolution"]
)
def test_mean_without_noise(operator: LinearOperator, tolerance: float) -> None:
    """What is not observed follows from what is, slowly: four times the steps, less than half of the error."""
    errors = [mean_error(operator, 0.0, num_steps, "constant") for num_steps in (250, 1000, 4000)]
    assert errors[2] < tolerance
    for coarse, fine in itertools.pairwise(errors):
        assert fine < coarse / 2


@pytest.mark.parametrize(
    ("operator", "noise_std"),
    [(Identity(), 0.5), (Identity(), 0.1), (Mask(KEPT), 0.5), (BlockAverage(2), 0.1), (BlockAverage(2), 0.3)],
    ids=["denoise", "denoise a little", "inpainting", "super-resolution, a little", "super-resolution"],
)
def test_mean_with_noise(operator: LinearOperator, noise_std: float) -> None:
    """Matched to the noise of y the mean arrives, the constant rule ends at the noisy y for what was observed."""
    assert mean_error(operator, noise_std, 1000, "matched") < 2e-3
    assert mean_error(operator, noise_std, 1000, "constant") > 0.01


def test_mean_with_noise_that_differs() -> None:
    """Whitened by scaling rows: the posterior weighs each row by its own noise."""
    noise_std = torch.tensor([0.2, 0.4, 0.8, 1.0], dtype=torch.float64)[None, :, None]
    white, y = RowScaled(Identity(), 1 / noise_std), draw() / noise_std
    mean = ddrm(
        white,
        y,
        1.0,
        COSINE,
        best,
        Silence(),
        num_steps=400,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise="matched",
    )
    noisy = SIGMA + torch.diag(noise_std.expand(SHAPE).flatten() ** 2)
    wanted = SIGMA @ torch.linalg.solve(noisy, draw().flatten())
    torch.testing.assert_close(mean.flatten(), wanted, rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    ("operator", "noise_std"), [(BlockAverage(2), 0.0), (Mask(KEPT), 0.5)], ids=["super-resolution", "noisy inpainting"]
)
def test_mean_of_many_draws(operator: LinearOperator, noise_std: float) -> None:
    """The mean of n draws has a standard error of s / sqrt(n), and 200 steps a bias of less than 0.02."""
    count, y = 500, observation(operator, noise_std)
    many, noise = y.expand(count, *y.shape[1:]), PerSampleNoise(0, range(count), SHAPE, CPU)
    x = ddrm(
        operator,
        many,
        noise_std,
        COSINE,
        best,
        noise,
        num_steps=200,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise="matched",
    )
    error, deviation = x.mean(dim=0) - posterior_mean(operator, y, noise_std)[0], x.std(dim=0)
    assert float(deviation.max()) < 1
    assert (error.abs() < 4 * deviation / math.sqrt(count) + 0.02).all()


@pytest.mark.parametrize(("eta", "wanted"), [(1.0, 0.5), (0.85, 0.78)])
def test_variance_is_less_than_the_posteriors(eta: float, wanted: float) -> None:
    """As documented: draws of DDRM are not draws of the posterior."""
    count, y = 500, observation(Mask(KEPT), 0.0)
    noise = PerSampleNoise(0, range(count), SHAPE, CPU)
    many = y.expand(count, *SHAPE)
    x = ddrm(
        Mask(KEPT),
        many,
        0.0,
        COSINE,
        best,
        noise,
        num_steps=100,
        spacing="trailing",
        eta=eta,
        eta_b=1,
        below_noise="constant",
    )
    seen = KEPT.flatten()
    missing, across = SIGMA[~seen][:, ~seen], SIGMA[~seen][:, seen]
    posterior = missing - across @ torch.linalg.solve(SIGMA[seen][:, seen], across.T)
    assert float(x.flatten(1)[:, ~seen].var(dim=0).sum() / posterior.trace()) == pytest.approx(wanted, rel=0.15)


def squash(x: Tensor, timestep: int) -> Tensor:
    """Some prior or other, that knows nothing of y and mixes pixels."""
    return torch.tanh(x + x.roll(1, dims=-1)) + 1e-3 * timestep


SPECTROGRAM = (2, 3, 8)
FILTERS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
SOUND_OPERATORS = {
    "identity": Identity(),
    "bins": Mask(torch.tensor([True, False, True])[None, :, None]),
    "frames": Mask(torch.arange(8) < 5),
    "means": BlockAverage(2),
    "convolution": FrequencyConvolution(FILTERS),
    "scaled": RowScaled(FrequencyConvolution(FILTERS), torch.tensor([0.1, 1, 7])[None, :, None]),
}


@pytest.mark.parametrize("num_steps", [1, 7])
@pytest.mark.parametrize("name", SOUND_OPERATORS)
def test_the_result_fits_what_was_observed_without_noise(name: str, num_steps: int) -> None:
    operator, shape = SOUND_OPERATORS[name], (2, 4, 8) if name == "means" else SPECTROGRAM
    y = operator.forward(torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)))
    noise = PerSampleNoise(0, range(2), shape, CPU)
    x = ddrm(
        operator,
        y,
        0.0,
        COSINE,
        squash,
        noise,
        num_steps=num_steps,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise="constant",
    )
    assert x.dtype == torch.float32
    torch.testing.assert_close(operator.forward(x), y, rtol=0, atol=2e-6 * float(y.abs().max()))
    if isinstance(operator, (Identity, Mask)):
        assert torch.equal(operator.forward(x), y)


def kawar(spread: float, sigma_t: float, sigma_s: float, eta: float, eta_b: float) -> tuple[float, float, float, float]:
    """Weights of x_0, x_t, ybar and n in one coordinate, written down from equation 8 of the paper."""
    if math.isinf(spread):
        away = math.sqrt(1 - eta**2) * sigma_s / sigma_t
        return 1 - away, away, 0, eta * sigma_s
    if sigma_s < spread:
        toward = math.sqrt(1 - eta**2) * sigma_s / spread
        return 1 - toward, 0, toward, eta * sigma_s
    return 1 - eta_b, 0, eta_b, math.sqrt(sigma_s**2 - eta_b**2 * spread**2)


@pytest.mark.parametrize("sigma_s", [3.0, 0.5, 0.0])
@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.3, 0.6), (1.0, 0.0), (0.0, 1.0)])
def test_steps_are_the_papers(eta: float, eta_b: float, sigma_s: float) -> None:
    spreads = [math.inf, 10.0, 0.5, 0.1, 0.0]
    past, trust, fresh = step_coefficients(
        torch.tensor(spreads, dtype=torch.float64), 4.0, sigma_s, eta, eta_b, "constant"
    )
    wanted = [kawar(spread, 4.0, sigma_s, eta, eta_b) for spread in spreads]
    found = torch.stack([1 - past - trust, past, trust, fresh], dim=1)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_matched_steps_are_continuous_and_differ_below_the_noise_only() -> None:
    sigma_s = 0.5
    spread = torch.tensor([math.inf, 0.5 + 1e-12, 0.5, 0.1, 2.0], dtype=torch.float64)
    constant = torch.stack(step_coefficients(spread, 1.0, sigma_s, 0.85, 1.0, "constant"))
    matched = torch.stack(step_coefficients(spread, 1.0, sigma_s, 0.85, 1.0, "matched"))
    assert torch.equal(matched[:, [0, 2, 3]], constant[:, [0, 2, 3]])
    torch.testing.assert_close(matched[:, 1], matched[:, 2], rtol=0, atol=2e-6)
    assert matched[:, 2].tolist() == [0, 1, 0]  # x is ybar
    wanted = torch.tensor([0, 1 / 16, 0.5 * math.sqrt(15 / 16)], dtype=torch.float64)
    torch.testing.assert_close(matched[:, 4], wanted)


def test_the_start_is_as_noisy_as_the_schedule_says() -> None:
    """Around y where y is cleaner than sigma_T, in total as noisy as sigma_T; pure noise elsewhere."""
    scale = torch.tensor([1.0, 1e-9])[:, None, None]  # the second channel's y is noisier than any x_t
    operator, shape = RowScaled(Mask(torch.arange(8) < 5), scale), (2, 2, 8)
    y, seen = torch.full((1, *shape), 1e4), list[Tensor]()

    def remember(x: Tensor, timestep: int) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    noise, replay = PerSampleNoise(0, [0], shape, CPU), PerSampleNoise(0, [0], shape, CPU)
    noise_std = 1e3
    ddrm(
        operator,
        y,
        noise_std,
        COSINE,
        remember,
        noise,
        num_steps=2,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise="constant",
    )
    alpha_bar = float(COSINE.at(torch.tensor(3999)))
    sigma = math.sqrt((1 - alpha_bar) / alpha_bar)
    assert sigma > noise_std
    wanted = sigma * replay.next()
    wanted[:, 0, :, :5] *= math.sqrt(1 - (noise_std / sigma) ** 2)
    wanted[:, 0, :, :5] += 1e4
    torch.testing.assert_close(seen[0], math.sqrt(alpha_bar) * wanted)


def test_steps_and_operators_are_reported() -> None:
    inputs, steps, asked = list[Tensor](), list[tuple[int, Tensor]](), list[int]()

    def remember(x: Tensor, timestep: int) -> Tensor:
        inputs.append(x)
        return squash(x, timestep)

    def other(x0: Tensor, timestep: int) -> LinearOperator:
        asked.append(timestep)
        return Mask(KEPT) if timestep > 1000 else Identity()

    y = torch.ones(1, *SHAPE)
    x = ddrm(
        Mask(KEPT),
        y,
        0.0,
        COSINE,
        remember,
        PerSampleNoise(0, [0], SHAPE, CPU),
        num_steps=4,
        spacing="trailing",
        eta=0.85,
        eta_b=1,
        below_noise="matched",
        on_step=lambda timestep, x_t: steps.append((timestep, x_t)),
        reestimate=other,
    )
    assert asked == [3999, 2999, 1999, 999]
    assert [timestep for timestep, _ in steps] == [2999, 1999, 999, -1]
    assert all(torch.equal(x_t, seen) for (_, x_t), seen in zip(steps[:-1], inputs[1:], strict=True))
    assert torch.equal(steps[-1][1], x)
    assert torch.equal(x, y)  # the last operator saw everything


def test_a_result_does_not_depend_on_the_batch() -> None:
    operator = FrequencyConvolution(FILTERS)
    y = operator.forward(torch.randn(3, *SPECTROGRAM, generator=torch.Generator().manual_seed(2)))

    def restore(indices: list[int], predict_x0: PredictX0) -> Tensor:
        noise = PerSampleNoise(5, indices, SPECTROGRAM, CPU)
        return ddrm(
            operator,
            y[indices],
            0.1,
            COSINE,
            predict_x0,
            noise,
            num_steps=5,
            spacing="trailing",
            eta=0.85,
            eta_b=1,
            below_noise="matched",
        )

    torch.testing.assert_close(restore([0, 1, 2], squash)[1:2], restore([1], squash), rtol=1e-5, atol=1e-6)
    assert torch.equal(restore([0, 1, 2], squash), restore([0, 1, 2], squash))
