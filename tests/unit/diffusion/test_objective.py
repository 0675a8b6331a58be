"""The three predictions against diffusers and against one another."""

import math
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from linnet.diffusion import objective
from linnet.diffusion.objective import Loss, Prediction
from linnet.diffusion.schedule import build_schedule
from linnet.recipe import LinearSchedule

SCHEDULE = build_schedule(LinearSchedule(kind="linear", num_timesteps=1000, beta_start=1e-4, beta_end=0.02))
TIMESTEPS = torch.tensor([0, 1, 10, 300, 700, 999])
PREDICTIONS: list[Prediction] = ["epsilon", "x0", "v"]


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, len(TIMESTEPS), 3, 8, 8, generator=generator)
    return x0, noise


def their_scheduler() -> Any:
    scheduler: Any = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    scheduler.alphas_cumprod = SCHEDULE.alpha_bar  # in float64: theirs is float32, and 1 - 0.9999 loses four digits
    return scheduler


def test_forward_process_is_diffusers_add_noise() -> None:
    x0, noise = images()
    ours = objective.diffuse(x0, noise, *SCHEDULE.rates(TIMESTEPS))
    theirs = their_scheduler().add_noise(x0.double(), noise.double(), TIMESTEPS)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)


def test_v_target_is_diffusers_velocity() -> None:
    x0, noise = images()
    ours = objective.target("v", x0, noise, *SCHEDULE.rates(TIMESTEPS))
    theirs = their_scheduler().get_velocity(x0.double(), noise.double(), TIMESTEPS)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-6)


def test_epsilon_and_x0_targets_are_the_noise_and_the_image() -> None:
    x0, noise = images()
    rates = SCHEDULE.rates(TIMESTEPS)
    assert torch.equal(objective.target("epsilon", x0, noise, *rates), noise)
    assert torch.equal(objective.target("x0", x0, noise, *rates), x0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predicted_x0_undoes_the_target(prediction: Prediction) -> None:
    x0, noise = (value.double() for value in images())
    rates = [rate.double() for rate in SCHEDULE.rates(TIMESTEPS)]
    x_t = objective.diffuse(x0, noise, *rates)
    output = objective.target(prediction, x0, noise, *rates)
    # float32 rates square to 1 within 1e-7, which is what v relies on
    torch.testing.assert_close(objective.predicted_x0(prediction, output, x_t, *rates), x0, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_wrong_answer_implies_the_image_diffusers_says(prediction: Prediction) -> None:
    """Not only at the truth: an arbitrary output must imply what diffusers' DDPM step calls pred_original_sample."""
    x_t, output = (value.double() for value in images())
    names = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
    scheduler = their_scheduler()
    scheduler.register_to_config(prediction_type=names[prediction], clip_sample=False)
    scheduler.set_timesteps(1000)
    ours = objective.predicted_x0(prediction, output, x_t, *SCHEDULE.rates(TIMESTEPS))
    for row, timestep in enumerate(TIMESTEPS.tolist()):
        step = scheduler.step(output[row : row + 1], timestep, x_t[row : row + 1])
        torch.testing.assert_close(ours[row : row + 1], step.pred_original_sample, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("kind", "expected"), [("mse", (1 + 4 + 0 + 9) / 4), ("mae", (1 + 2 + 0 + 3) / 4)])
def test_loss_is_the_mean_over_all_elements(kind: Loss, expected: float) -> None:
    output = torch.tensor([[1.0, -2.0], [5.0, 3.0]])
    truth = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    assert float(objective.loss(kind, output, truth)) == expected


def test_loss_of_a_half_precision_answer_is_counted_in_float32() -> None:
    """The sum of squares of 100,000 elements of 300 overflows float16."""
    output = torch.full((100_000,), 300.0, dtype=torch.float16)
    value = objective.loss("mse", output, torch.zeros(100_000))
    assert value.dtype == torch.float32
    assert math.isclose(float(value), 90_000.0, rel_tol=1e-6)
