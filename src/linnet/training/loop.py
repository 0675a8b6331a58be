"""The training loop: steps, history, checkpoints, and a stop before a non-finite update.

It knows nothing of diffusion. Step n depends on the weights and on n alone, so that a run that was stopped and resumed
ends in the same bits as one that was not.
"""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from linnet.errors import LinnetError, Stopped
from linnet.recipe import TrainSection
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER, Execution
from linnet.training.state import HistoryRow, TrainState, learning_rate
from linnet.training.step import Objective, TrainStep
from linnet.training.stopping import StopRequest
from linnet.training.throughput import Interval
from linnet.training.update import Reading

GPU_READ_EVERY_STEPS = 16  # a read waits for the GPU
RANKS_READ_EVERY_STEPS = 8  # ranks wait for each other to agree on signals; one process on a CPU reads every step

_now = time.monotonic


class NonFiniteLossError(LinnetError):
    """The loss or the gradient is infinite or not a number; the weights are those from before it."""


def fit(
    state: TrainState,
    section: TrainSection,
    objective: Objective,
    *,
    execution: Execution = EAGER,
    checkpoints: CheckpointStore,
    stop: StopRequest,
    on_step: Callable[[int, float], None],
    on_log: Callable[[HistoryRow, Interval], None],
    on_grid: Callable[[], None],
) -> None:
    """Train until `section.num_steps`.

    Args:
        on_step: called with the number of steps since the last call and the newest loss.
        on_log: called with a new history row and what it took since the row before.
        on_grid: called in the main process when a grid of samples of the EMA network is due.

    Raises:
        NonFiniteLossError: before the update that would have spoilt the weights.
        Stopped: a signal asked to stop; the checkpoint is written.
    """
    grid_every = section.steps_for(section.grid_every_kexamples)
    read_every = _read_every(state.distributed)
    take_step = TrainStep(state, section, objective, execution)
    state.network.train()
    started, logged_at, logged, waited, read = _now(), _now(), state.step, objective.waited_seconds, state.step
    earlier = state.seconds
    while state.step < section.num_steps:
        take_step()
        is_last = state.step == section.num_steps
        is_logged = state.step % section.log_every_steps == 0 or is_last
        has_grid = state.step % grid_every == 0 or is_last
        if not (is_logged or has_grid or state.step % read_every == 0):
            continue
        reading = state.update.read()
        if reading.has_failed:
            state.step = reading.steps
            raise NonFiniteLossError(_explain_non_finite(state, section, reading, checkpoints))
        state.seconds = earlier + _now() - started
        on_step(state.step - read, reading.loss)
        read = state.step
        if is_logged:
            examples = (state.step - logged) * section.batch_size
            interval = Interval(examples, _now() - logged_at, objective.waited_seconds - waited)
            on_log(_close_history_row(state, section), interval)
            logged_at, logged, waited = _now(), state.step, objective.waited_seconds
        if has_grid and state.distributed.is_main_process:
            grid_at = _now()
            on_grid()
            logged_at += _now() - grid_at
        if signal_number := state.distributed.all_reduce_max(stop.signal_number):
            _save(state, checkpoints)
            checkpoints.wait()
            raise Stopped(f"stopped after step {state.step} of {section.num_steps}", signal_number)
        if checkpoints.is_due():
            saved_at = _now()
            _save(state, checkpoints)
            logged_at += _now() - saved_at


def _read_every(distributed: DistributedContext) -> int:
    if distributed.device.type == "cuda":
        return GPU_READ_EVERY_STEPS
    return RANKS_READ_EVERY_STEPS if distributed.world_size > 1 else 1


def _save(state: TrainState, checkpoints: CheckpointStore) -> None:
    if state.distributed.is_main_process:  # all ranks hold the same
        checkpoints.save(state.state_dict())


def _close_history_row(state: TrainState, section: TrainSection) -> HistoryRow:
    loss, gradient_norm = state.update.close_sums()
    row = HistoryRow(
        step=state.step,
        examples=state.step * section.batch_size,
        loss=loss,
        gradient_norm=gradient_norm,
        learning_rate=learning_rate(section, state.step - 1),
    )
    state.history.append(row)
    return row


def _explain_non_finite(
    state: TrainState, section: TrainSection, reading: Reading, checkpoints: CheckpointStore
) -> str:
    """The message; saves the state first, unless the forward pass has spoilt the statistics of batch norm."""
    if _all_finite(state.network.state_dict().values()):
        _save(state, checkpoints)
        checkpoints.wait()
    precision = "" if section.precision == "fp32" else ", use precision = 'fp32'"
    kept = f"The last good state is kept in {checkpoints.folder}" if checkpoints.exists() else "No step was saved yet"
    return (
        f"step {state.step + 1} of {section.num_steps}: loss {reading.loss:g}, gradient norm {reading.gradient_norm:g} "
        f"at learning rate {learning_rate(section, state.step):g} in {section.precision}; the run stops before this "
        f"update. {kept}. Lower [train] learning_rate or max_gradient_norm{precision}, or lengthen warmup_kexamples: "
        "other settings are another run and start from the beginning."
    )


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
