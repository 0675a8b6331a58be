from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linnet.errors import Stopped
from linnet.recipe import Adam, AdamW, TrainSection
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.loop import (
    HistoryRow,
    NonFiniteLossError,
    TrainState,
    fit,
    learning_rate,
    new_state,
    train_step,
)
from linnet.training.stopping import StopRequest
from support.tiny import tiny_recipe

CPU = torch.device("cpu")
SINGLE = DistributedContext.single_process(CPU)
Loss = Callable[[nn.Module, int], Tensor]


def section(*overrides: str) -> TrainSection:
    return tiny_recipe(*overrides).train


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 6))


def denoise(net: nn.Module, step: int) -> Tensor:
    """Everything random comes from the step, as the loop requires of its callers."""
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
    loss: Tensor = (net(x) - x.flip(0)).square().mean()
    return loss


def run(state: TrainState, train: TrainSection, store: CheckpointStore, *, stop_at: int = -1) -> list[HistoryRow]:
    stop = StopRequest()
    rows = []

    def loss(net: nn.Module, step: int) -> Tensor:
        if step == stop_at:
            stop.signal_number = 15
        return denoise(net, step)

    fit(
        state,
        train,
        loss,
        checkpoints=store,
        stop=stop,
        on_step=lambda _: None,
        on_log=lambda row, _: rows.append(row),
        on_grid=lambda: None,
    )
    return rows


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
        run(new_state(network(), train, SINGLE), train, store, stop_at=stop_at)
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
    assert (tmp_path / "often" / "checkpoint.pt").exists()
    assert not (tmp_path / "seldom" / "checkpoint.pt").exists()
    assert all(torch.equal(a, b) for a, b in zip(weights(seldom), weights(often), strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_loss_stops_before_the_update_and_keeps_a_good_checkpoint(tmp_path: Path, bad: float) -> None:
    train = section()
    state = new_state(network(), train, SINGLE)
    store = CheckpointStore(tmp_path, every_seconds=1e9)
    for _ in range(3):
        train_step(state, train, denoise, store)
    before = [tensor.clone() for tensor in state.network.parameters()]
    with pytest.raises(
        NonFiniteLossError, match=r"step 4 of 24: loss (nan|inf).*kept in .*Lower \[train\] learning_rate"
    ):
        train_step(state, train, lambda net, step: denoise(net, step) * bad, store)
    assert all(torch.equal(a, b) for a, b in zip(before, state.network.parameters(), strict=True))
    saved = store.load(CPU)
    assert saved is not None
    assert saved["step"] == 3
    assert all(torch.isfinite(tensor).all() for tensor in saved["network"].values())


def test_a_finite_loss_with_a_bad_gradient_stops_too(tmp_path: Path) -> None:
    train = section()
    state = new_state(network(), train, SINGLE)

    def loss(net: nn.Module, step: int) -> Tensor:
        zero = denoise(net, step) * 0
        return zero.clamp(min=0).sqrt()  # value 0, slope 1 / 0

    with pytest.raises(NonFiniteLossError, match="gradient norm nan"):
        train_step(state, train, loss, CheckpointStore(tmp_path, every_seconds=1e9))


def test_fp16_skips_an_overflowing_step_and_lowers_the_scale(tmp_path: Path) -> None:
    train = section("train.precision=fp16")
    state = new_state(network(), train, SINGLE)
    before = [tensor.clone() for tensor in state.network.parameters()]
    scale = state.scaler.get_scale()
    value = train_step(
        state, train, lambda net, step: denoise(net, step) * 1e35, CheckpointStore(tmp_path, every_seconds=1e9)
    )
    assert 0 < value < float("inf")
    assert state.scaler.get_scale() == scale / 2
    assert all(torch.equal(a, b) for a, b in zip(before, state.network.parameters(), strict=True))


def test_learning_rate_warms_up_in_a_line_and_stays() -> None:
    train = section("train.learning_rate=0.8")  # 16 examples of warmup in batches of 4
    assert [learning_rate(train, step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_one_step_is_what_the_papers_say(tmp_path: Path, kind: str) -> None:
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
    denoise(probe, 0).backward()  # type: ignore[no-untyped-call]
    gradient = probe.weight.grad
    assert gradient is not None
    train_step(state, train, denoise, CheckpointStore(tmp_path, every_seconds=1e9))
    expected = start * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(next(state.network.parameters()).detach(), expected)


def test_gradients_are_clipped_to_the_norm(tmp_path: Path) -> None:
    """With SGD-like reading: the recorded norm is the one before clipping, the moments hold the clipped gradient."""
    train = section("train.max_gradient_norm=0.001", "train.warmup_kexamples=0.0")
    state = new_state(network(), train, SINGLE)
    train_step(state, train, denoise, CheckpointStore(tmp_path, every_seconds=1e9))
    assert state.running.gradient_norm > 0.001
    moments = [state.optimizer.state[p]["exp_avg"] / (1 - 0.9) for p in state.network.parameters()]
    total = torch.stack([moment.norm() for moment in moments]).norm()
    assert float(total) == pytest.approx(0.001, rel=1e-3)
