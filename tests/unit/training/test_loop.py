import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linnet.errors import Stopped
from linnet.models.blocks import Dropout
from linnet.recipe import Adam, AdamW, TrainSection
from linnet.training.adam import Adam as AdamSteps
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER
from linnet.training.loop import NonFiniteLossError, fit
from linnet.training.state import HistoryRow, TrainState, learning_rate, new_state
from linnet.training.step import Batch, TrainStep
from linnet.training.stopping import StopRequest
from linnet.training.update import Reading
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
SINGLE = DistributedContext.single_process(CPU)


def section(*overrides: str) -> TrainSection:
    return tiny_recipe(*overrides).train


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 6))


class Denoising:
    """Everything random comes from the step, as the loop requires of its callers."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.waited_seconds = 0.0

    def batch(self, step: int) -> Batch:
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        return Batch(x, torch.zeros(4), None, x.flip(0))

    def loss(self, net: nn.Module, batch: Batch) -> Tensor:
        error: Tensor = (net(batch.x_t) - batch.target).square().mean()
        return error * self.factor


class StoppedAt(Denoising):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.stop = step, StopRequest()

    def batch(self, step: int) -> Batch:
        if step == self.step:
            self.stop.signal_number = 15
        return super().batch(step)


def run(
    state: TrainState, train: TrainSection, store: CheckpointStore, objective: Denoising | None = None
) -> list[HistoryRow]:
    rows: list[HistoryRow] = []
    objective = objective or Denoising()
    fit(
        state,
        train,
        objective,
        checkpoints=store,
        stop=objective.stop if isinstance(objective, StoppedAt) else StopRequest(),
        on_step=lambda _count, _loss: None,
        on_log=lambda row, _: rows.append(row),
        on_grid=lambda: None,
    )
    store.wait()
    return rows


def step(state: TrainState, train: TrainSection, objective: Denoising, count: int = 1) -> Reading:
    take = TrainStep(state, train, objective, EAGER)
    for _ in range(count):
        take()
    return state.update.read()


def weights(state: TrainState) -> list[Tensor]:
    return [*state.network.state_dict().values(), *state.ema.network.state_dict().values()]


@pytest.mark.parametrize("stop_at", [0, 7, 22])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_stopped_and_continued_run_ends_in_the_same_bits(tmp_path: Path, stop_at: int, precision: str) -> None:
    train = section(f"train.precision={precision}")
    whole = new_state(network(), train, SINGLE)
    run(whole, train, CheckpointStore(tmp_path / "whole", every_seconds=1e9))

    store = CheckpointStore(tmp_path / "stopped", every_seconds=1e9)
    with pytest.raises(Stopped, match=f"after step {stop_at + 1} of 24"):
        run(new_state(network(), train, SINGLE), train, store, StoppedAt(stop_at))
    continued = new_state(network(), train, SINGLE)
    saved = store.load(CPU)
    assert saved is not None
    continued.load_state_dict(saved)
    assert continued.step == stop_at + 1
    run(continued, train, store)

    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(continued), strict=True))
    assert whole.history == continued.history
    assert [row.step for row in whole.history] == [5, 10, 15, 20, 24]


def test_how_often_checkpoints_are_written_changes_nothing(tmp_path: Path) -> None:
    train = section()
    seldom, often = new_state(network(), train, SINGLE), new_state(network(), train, SINGLE)
    run(seldom, train, CheckpointStore(tmp_path / "seldom", every_seconds=1e9))
    run(often, train, CheckpointStore(tmp_path / "often", every_seconds=0))
    assert CheckpointStore(tmp_path / "often", every_seconds=1).exists()
    assert not CheckpointStore(tmp_path / "seldom", every_seconds=1).exists()
    assert all(torch.equal(a, b) for a, b in zip(weights(seldom), weights(often), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_stops_before_the_update_and_keeps_a_good_checkpoint(tmp_path: Path, bad: float) -> None:
    train = section()
    state = new_state(network(), train, SINGLE)
    store = CheckpointStore(tmp_path, every_seconds=1e9)
    step(state, train, Denoising(), count=3)
    before = [tensor.clone() for tensor in [*state.network.parameters(), *state.ema.network.parameters()]]
    with pytest.raises(
        NonFiniteLossError, match=r"step 4 of 24: loss (nan|inf).*kept in .*Lower \[train\] learning_rate"
    ):
        run(state, train, store, Denoising(bad))
    after = [*state.network.parameters(), *state.ema.network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    saved = store.load(CPU)
    assert saved is not None
    assert saved["step"] == 3
    assert all(torch.isfinite(tensor).all() for tensor in saved["network"].values())


def test_no_step_after_a_failed_one_changes_anything_however_late_somebody_looks() -> None:
    train = section()
    state = new_state(network(), train, SINGLE)
    step(state, train, Denoising(), count=3)
    before = copy.deepcopy({"ema": state.ema.network.state_dict(), "update": state.update.state_dict()})
    weights_before = [tensor.clone() for tensor in state.network.parameters()]
    failed = step(state, train, Denoising(float("nan")))
    assert (failed.has_failed, failed.steps) == (True, 3)
    assert repr(step(state, train, Denoising(), count=5)) == repr(failed)  # NaN is not equal to itself
    after = {"ema": state.ema.network.state_dict(), "update": state.update.state_dict()}
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(weights_before, state.network.parameters(), strict=True))


def test_a_finite_loss_with_a_bad_gradient_stops_too(tmp_path: Path) -> None:
    class Slope(Denoising):
        def loss(self, net: nn.Module, batch: Batch) -> Tensor:
            return (super().loss(net, batch) * 0).clamp(min=0).sqrt()  # value 0, slope 1 / 0

    train = section()
    with pytest.raises(NonFiniteLossError, match="gradient norm nan"):
        run(new_state(network(), train, SINGLE), train, CheckpointStore(tmp_path, every_seconds=1e9), Slope())


def test_fp16_skips_an_overflowing_step_and_lowers_the_scale() -> None:
    train = section("train.precision=fp16")
    state = new_state(network(), train, SINGLE)
    before = [tensor.clone() for tensor in [*state.network.parameters(), *state.ema.network.parameters()]]
    scale = state.update.loss_scale
    reading = step(state, train, Denoising(1e35))
    assert 0 < reading.loss < float("inf")
    assert not reading.has_failed
    assert state.update.loss_scale == scale / 2
    after = [*state.network.parameters(), *state.ema.network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_lowered_loss_scale_survives_a_stop(tmp_path: Path) -> None:
    train = section("train.precision=fp16")
    state = new_state(network(), train, SINGLE)
    step(state, train, Denoising(1e35), count=3)
    store = CheckpointStore(tmp_path, every_seconds=1e9)
    store.save(state.state_dict())
    store.wait()
    saved = store.load(CPU)
    assert saved is not None
    continued = new_state(network(), train, SINGLE)
    continued.load_state_dict(saved)
    assert continued.update.loss_scale == state.update.loss_scale == 2.0**13


def test_fp16_fails_where_no_scale_is_small_enough(tmp_path: Path) -> None:
    train = section("train.precision=fp16", "train.duration_kexamples=1.0", "train.batch_size=4")
    state = new_state(network(), train, SINGLE)
    with pytest.raises(NonFiniteLossError, match=r"step 27 of 250: loss .*, gradient norm inf"):  # 2^16 to 2^-10
        run(state, train, CheckpointStore(tmp_path, every_seconds=1e9), Denoising(1e38))


def test_every_step_has_a_dropout_mask_of_its_own() -> None:
    class OneBatch(Denoising):
        def batch(self, step: int) -> Batch:
            return super().batch(0)

    train = section("train.learning_rate=1e-30")
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        state = new_state(nn.Sequential(Dropout(0.5), nn.Linear(6, 6)), train, SINGLE)
        losses.append([step(state, train, OneBatch()).loss for _ in range(4)])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4


def test_learning_rate_warms_up_in_a_line_and_stays() -> None:
    train = section("train.learning_rate=0.8")  # 16 examples of warmup in batches of 4
    assert [learning_rate(train, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_learning_rate_falls_to_zero_as_half_a_cosine() -> None:
    train = section("train.learning_rate=0.8", "train.learning_rate_decay=cosine")  # 4 of 24 steps warm up
    rates = [learning_rate(train, step) for step in (3, 4, 9, 14, 19, 23)]
    assert rates == pytest.approx(
        [0.8, 0.8, 0.4 + 0.4 * 0.5**0.5, 0.4, 0.4 - 0.4 * 0.5**0.5, 0.4 - 0.4 * math.cos(math.pi / 20)]
    )


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_one_step_is_what_the_papers_say(kind: str) -> None:
    """First Adam step: the bias-corrected moments are g and g^2, so the update is lr * g / (|g| + eps)."""
    train = section("train.warmup_kexamples=0.0", "train.learning_rate=0.01", "train.max_gradient_norm=1e9")
    decay = 0.1 if kind == "adamw" else 0.0
    optimizer = (
        AdamW(kind="adamw", beta1=0.9, beta2=0.99, weight_decay=decay)
        if kind == "adamw"
        else Adam(kind="adam", beta1=0.9, beta2=0.99)
    )
    train = train.model_copy(update={"optimizer": optimizer})
    state = new_state(nn.Linear(6, 6, bias=False), train, SINGLE)
    start = next(state.network.parameters()).detach().clone()
    probe = nn.Linear(6, 6, bias=False)
    probe.load_state_dict(state.network.state_dict())
    Denoising().loss(probe, Denoising().batch(0)).backward()  # type: ignore[no-untyped-call]
    gradient = probe.weight.grad
    assert gradient is not None
    step(state, train, Denoising())
    expected = start * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(next(state.network.parameters()).detach(), expected)


def test_gradients_are_clipped_to_the_norm() -> None:
    """With SGD-like reading: the recorded norm is the one before clipping, the moments hold the clipped gradient."""
    train = section("train.max_gradient_norm=0.001", "train.warmup_kexamples=0.0")
    state = new_state(network(), train, SINGLE)
    assert step(state, train, Denoising()).gradient_norm > 0.001
    assert isinstance(state.update.optimizer, AdamSteps)
    moments = [moment / (1 - 0.9) for moment in state.update.optimizer.moments]
    total = torch.stack([moment.norm() for moment in moments]).norm()
    assert float(total) == pytest.approx(0.001, rel=1e-3)
