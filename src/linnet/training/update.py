"""The update of a training step: backward, clipping, loss scaling, optimizer and averaging, all on the device.

Nothing here waits for the device: what would be an `if` of the host is arithmetic with a flag. A step whose loss or
gradient is not finite changes nothing, and neither does any step after it, so that the host may look later and still
finds the state from before it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linnet.recipe import TrainSection
from linnet.training.distributed import DistributedContext
from linnet.training.ema import EMA
from linnet.training.optimizer import build_optimizer
from linnet.training.shared_average import SharedAverage

MIN_LOSS_SCALE = 2.0**-10  # fp16: gradients that overflow even at this scale are not a matter of scale
FIRST_LOSS_SCALE = 2.0**16
SAVED_SCALARS = ("scale", "good_steps", "steps", "sums")
LOSS_SCALE_INTERVAL = 2000  # good steps before the scale is doubled (Micikevicius et al. 2018, section 3.2)


@dataclass(frozen=True)
class Reading:
    """What the host knows once it has waited for the device."""

    has_failed: bool
    steps: int  # taken since the training began, up to the one that failed
    loss: float  # of the newest step, or of the one that failed
    gradient_norm: float


class Update:
    """Optimizer, loss scale, averaging and sums of one training, as tensors that stay where they are.

    A CUDA graph replays on the same memory, so scalars that change from step to step are tensors, too.
    """

    def __init__(
        self,
        network: nn.Module,
        ema: EMA,
        section: TrainSection,
        distributed: DistributedContext,
        average: SharedAverage | None,
    ) -> None:
        device = distributed.device
        self._average = average
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._ema, self._distributed = ema, distributed
        self._max_norm, self._is_scaled = section.max_gradient_norm, section.precision == "fp16"
        self._learning_rate = torch.zeros((), device=device)
        self._ema_weight = torch.zeros((), device=device)
        self._scale = torch.full((), FIRST_LOSS_SCALE if self._is_scaled else 1.0, device=device)
        self._good_steps = torch.zeros((), dtype=torch.int32, device=device)
        self._has_failed = torch.zeros((), dtype=torch.bool, device=device)
        self._steps = torch.zeros((), dtype=torch.int64, device=device)
        self._newest = torch.zeros(2, dtype=torch.float64, device=device)  # loss, gradient norm
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, gradient norm, steps
        self.optimizer = build_optimizer(network, section.optimizer, self._learning_rate)

    def set_rates(self, learning_rate: float, ema_weight: float) -> None:
        """What the next step takes; a kernel each on a GPU, no copy."""
        self._learning_rate.fill_(learning_rate)
        self._ema_weight.fill_(ema_weight)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scalar `loss` to those of the step."""
        (loss * self._scale if self._is_scaled else loss).backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def __call__(self, loss: Tensor) -> None:
        """Take the step whose loss is `loss`, a scalar, with the gradients that `backward` has added up."""
        gradients = [_gradient(parameter) for parameter in self._parameters]
        if self._average is not None:
            loss, gradients = self._average(loss, gradients)
        norm = nn.utils.get_total_norm(gradients, foreach=True) / self._scale
        newest = torch.stack([loss.double(), norm.double()])
        if self._average is None:
            newest = self._distributed.all_reduce_mean(newest)
        is_finite = newest.isfinite()
        overflows = ~is_finite[1]
        if self._is_scaled:
            overflows = overflows & (self._scale > MIN_LOSS_SCALE)  # a matter of scale: skipped, not a failure
            fails = ~is_finite[0] | (~is_finite[1] & ~overflows)
        else:
            fails = ~is_finite.all()
        self._newest.copy_(torch.where(self._has_failed, self._newest, newest))
        self._has_failed.logical_or_(fails)
        skips = (self._has_failed | overflows).float()
        divisor = self._scale * (newest[1] / self._max_norm).clamp(min=1).float()  # clips to the norm
        self.optimizer.update(gradients, divisor=divisor, skip=skips)
        self._ema.update(self._ema_weight * (1 - skips))
        if self._is_scaled:
            torch._amp_update_scale_(self._scale, self._good_steps, skips, 2.0, 0.5, LOSS_SCALE_INTERVAL)
        taken = ~self._has_failed
        norm_or_0 = torch.where(is_finite[1], newest[1], 0.0)
        counted = torch.stack([newest[0], norm_or_0, torch.ones_like(norm_or_0)])
        self._sums.add_(torch.where(taken, counted, 0.0))
        self._steps.add_(taken)
        for parameter in self._parameters:
            parameter.grad = None

    def read(self) -> Reading:
        """Wait for the device."""
        values = torch.cat([torch.stack([self._has_failed, self._steps]).double(), self._newest]).tolist()
        return Reading(bool(values[0]), int(values[1]), values[2], values[3])

    def close_sums(self) -> tuple[float, float]:
        """Mean loss and gradient norm of the steps since the call before. Waits for the device."""
        loss, norm, steps = self._sums.tolist()
        self._sums.zero_()
        return loss / steps, norm / steps

    @property
    def loss_scale(self) -> float:
        """By which fp16 losses are multiplied; 1 in other precisions. Waits for the device."""
        return float(self._scale)

    def state_dict(self) -> dict[str, Any]:
        """Tensors that continue a training; rates belong to the recipe."""
        scalars = {name: getattr(self, f"_{name}") for name in SAVED_SCALARS}
        return {"optimizer": self.optimizer.state_dict(), **scalars}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved."""
        self.optimizer.load_state_dict(state["optimizer"])
        for name in SAVED_SCALARS:
            getattr(self, f"_{name}").copy_(state[name])


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Zeros for a parameter that the batch did not need, so that every rank and every graph updates the same ones."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
