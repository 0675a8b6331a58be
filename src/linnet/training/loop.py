"""The optimizer loop: loss scaling, clipping, EMA, checkpoints, and a stop before a non-finite update.

It knows nothing of diffusion. Step n depends on the weights and on n alone, so that a run that was stopped and resumed
ends in the same bits as one that was not.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from linnet.errors import LinnetError, Stopped
from linnet.recipe import Adam, AdamW, TrainSection
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.ema import EMA
from linnet.training.stopping import StopRequest

MIN_LOSS_SCALE = 2.0**-10  # fp16: gradients that overflow even at this scale are not a matter of scale


class NonFiniteLossError(LinnetError):
    """The loss or the gradient is infinite or not a number; the weights are those from before it."""


@dataclass
class RunningSums:
    """Sums since the last row of the history."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    steps: int = 0


@dataclass
class HistoryRow:
    """Means over the steps since the row before; no times, so that equal runs have equal histories."""

    step: int
    examples: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass
class TrainState:
    """All that a checkpoint holds, and what this process needs beside it."""

    network: nn.Module
    ema: EMA
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    distributed: DistributedContext  # not in the checkpoint
    ddp: nn.Module  # not in the checkpoint: the network, wrapped where there are several ranks
    step: int = 0
    running: RunningSums = field(default_factory=RunningSums)
    history: list[HistoryRow] = field(default_factory=list)
    grids: dict[int, Tensor] = field(default_factory=dict)  # by step: the bytes of a PNG file, uint8

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers, loadable with `weights_only=True`."""
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "running": vars(self.running),
            "history": [vars(row) for row in self.history],
            "grids": self.grids,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved."""
        self.network.load_state_dict(state["network"])
        self.ema.network.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.running = RunningSums(**state["running"])
        self.history = [HistoryRow(**row) for row in state["history"]]
        self.grids = {step: png.cpu() for step, png in state["grids"].items()}


def new_state(network: nn.Module, section: TrainSection, distributed: DistributedContext) -> TrainState:
    """The state before the first step; `network` must already be on the device of `distributed`."""
    network = distributed.sync_batch_norm(network)
    return TrainState(
        network=network,
        ema=EMA(network, section.ema_decay),
        optimizer=_build_optimizer(network, section),
        scaler=GradScaler(distributed.device.type, enabled=section.precision == "fp16"),
        distributed=distributed,
        ddp=distributed.wrap_ddp(network),
    )


def learning_rate(section: TrainSection, step: int) -> float:
    """Linear warmup to the peak, then constant; `step` from 0."""
    warmup_steps = round(section.warmup_kexamples * 1000 / section.batch_size)
    return section.learning_rate * min(1.0, (step + 1) / max(1, warmup_steps))


def fit(
    state: TrainState,
    section: TrainSection,
    compute_loss: Callable[[nn.Module, int], Tensor],
    *,
    checkpoints: CheckpointStore,
    stop: StopRequest,
    on_step: Callable[[float], None],
    on_log: Callable[[HistoryRow, float], None],
    on_grid: Callable[[], None],
) -> None:
    """Train until `section.num_steps`.

    Args:
        compute_loss: the loss of step n as a scalar; all randomness in it must come from n.
        on_step: called after each step with its loss.
        on_log: called with a new history row and the examples per second since the row before.
        on_grid: called in the main process when a grid of samples of the EMA network is due.

    Raises:
        NonFiniteLossError: before the update that would have spoilt the weights.
        Stopped: a signal asked to stop; the checkpoint is written.
    """
    grid_every = section.steps_for(section.grid_every_kexamples)
    state.network.train()
    since, first = time.monotonic(), state.step
    while state.step < section.num_steps:
        loss = train_step(state, section, compute_loss, checkpoints)
        on_step(loss)
        if state.step % section.log_every_steps == 0 or state.step == section.num_steps:
            now = time.monotonic()
            row = _close_history_row(state, section)
            on_log(row, (state.step - first) * section.batch_size / max(now - since, 1e-9))
            since, first = now, state.step
        if state.distributed.is_main_process and (state.step % grid_every == 0 or state.step == section.num_steps):
            on_grid()
        if signal_number := state.distributed.all_reduce_max(stop.signal_number):
            _save(state, checkpoints)
            raise Stopped(f"stopped after step {state.step} of {section.num_steps}", signal_number)
        if checkpoints.is_due():
            _save(state, checkpoints)


def train_step(
    state: TrainState,
    section: TrainSection,
    compute_loss: Callable[[nn.Module, int], Tensor],
    checkpoints: CheckpointStore,
) -> float:
    """Take one optimizer step and return its loss. Raises NonFiniteLossError before it changes the weights."""
    rate = learning_rate(section, state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    loss = compute_loss(state.ddp, state.step)
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), section.max_gradient_norm, foreach=True)
    means = state.distributed.all_reduce_mean(torch.stack([loss.detach().float(), norm.float()]))
    loss_value, norm_value = means.tolist()  # waits for the device
    overflow_is_expected = state.scaler.is_enabled() and state.scaler.get_scale() > MIN_LOSS_SCALE
    if not math.isfinite(loss_value) or not (math.isfinite(norm_value) or overflow_is_expected):
        raise NonFiniteLossError(_explain_non_finite(state, section, loss_value, norm_value, checkpoints))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    if math.isfinite(norm_value):  # else the scaler skipped this update
        state.ema.update(state.step)
        state.running.gradient_norm += norm_value
    state.running.loss += loss_value
    state.running.steps += 1
    state.step += 1
    return float(loss_value)


def _save(state: TrainState, checkpoints: CheckpointStore) -> None:
    if state.distributed.is_main_process:  # all ranks hold the same
        checkpoints.save(state.state_dict())


def _close_history_row(state: TrainState, section: TrainSection) -> HistoryRow:
    row = HistoryRow(
        step=state.step,
        examples=state.step * section.batch_size,
        loss=state.running.loss / state.running.steps,
        gradient_norm=state.running.gradient_norm / state.running.steps,
        learning_rate=learning_rate(section, state.step - 1),
    )
    state.history.append(row)
    state.running = RunningSums()
    return row


def _build_optimizer(network: nn.Module, section: TrainSection) -> torch.optim.Optimizer:
    optimizer = section.optimizer
    betas = (optimizer.beta1, optimizer.beta2)
    match optimizer:
        case Adam():
            return torch.optim.Adam(network.parameters(), lr=section.learning_rate, betas=betas, fused=True)
        case AdamW():
            return torch.optim.AdamW(
                network.parameters(),
                lr=section.learning_rate,
                betas=betas,
                weight_decay=optimizer.weight_decay,
                fused=True,
            )
        case _:
            assert_never(optimizer)


def _explain_non_finite(
    state: TrainState, section: TrainSection, loss: float, norm: float, checkpoints: CheckpointStore
) -> str:
    """The message; saves the state first, unless the forward pass has spoilt the statistics of batch norm."""
    if _all_finite(state.network.state_dict().values()):
        _save(state, checkpoints)
    precision = "" if section.precision == "fp32" else ", use precision = 'fp32'"
    kept = (
        f"The last good state is kept in {checkpoints.path}" if checkpoints.path.exists() else "No step was saved yet"
    )
    return (
        f"step {state.step + 1} of {section.num_steps}: loss {loss:g}, gradient norm {norm:g} at learning rate "
        f"{learning_rate(section, state.step):g} in {section.precision}; the run stops before this update. {kept}. "
        f"Lower [train] learning_rate or max_gradient_norm{precision}, or lengthen warmup_kexamples: other settings "
        "are another run and start from the beginning."
    )


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
