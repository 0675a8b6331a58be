"""Taking steps as the device can: eagerly, compiled, or replayed as one CUDA graph."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from linnet.recipe import TrainSection
from linnet.training.execution import Execution
from linnet.training.state import TrainState, learning_rate

WARMUP_STEPS = 3  # eager, so that libraries have made their choices and the optimizer its state before the capture


class Batch(NamedTuple):
    """What a network sees in a step and what it should answer, on its device."""

    x_t: Tensor  # [B, C, H, W]
    noise_level: Tensor  # [B]
    condition: Tensor | None  # [B, ...]
    target: Tensor  # [B, C, H, W]

    def divide(self, passes: int) -> list["Batch"]:
        """Its rows in equal parts, in their order."""
        fields = (None if tensor is None else tensor.chunk(passes) for tensor in self)
        return [
            Batch(*parts)
            for parts in zip(*([None] * passes if field is None else field for field in fields), strict=True)
        ]


class Objective(Protocol):
    """What is learnt: everything random in step n comes from n."""

    waited_seconds: float  # for examples to arrive, since the beginning

    def batch(self, step: int) -> Batch:
        """The batch of step `step`; called with consecutive steps."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The scalar loss of `network` on `batch`."""


def step_seed(seed: int, step: int) -> int:
    """The seed of all that is random in step `step` of a training with seed `seed`."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


class TrainStep:
    """Takes the next step of `state`: forward, backward and update on a batch. It waits for no device."""

    def __init__(self, state: TrainState, section: TrainSection, objective: Objective, execution: Execution) -> None:
        self.state = state
        self._section, self._objective = section, objective
        self._passes = execution.passes
        state.distributed.divide(state.network, 0, 1)
        self._network: nn.Module = state.ddp
        if execution.compiled:  # its result is a module, whatever its annotation says
            self._network = cast(nn.Module, torch.compile(state.ddp, dynamic=False))
        self._run: Callable[[Batch], None] = CudaGraph(self._eager) if execution.graphed else self._eager

    def __call__(self) -> None:
        """Take one step and count it; whether it failed is for `Update.read` to say."""
        state = self.state
        state.update.set_rates(learning_rate(self._section, state.step), state.ema.weight(state.step))
        batch = self._objective.batch(state.step)
        torch.manual_seed(step_seed(self._section.seed, state.step))  # dropout uses the global generators
        self._run(batch)
        state.step += 1

    def _eager(self, batch: Batch) -> None:
        state, passes = self.state, self._passes
        if passes == 1:
            loss = self._objective.loss(self._network, batch)
            state.update.backward(loss)
        else:
            loss = torch.zeros((), device=state.distributed.device)
            for number, part in enumerate(batch.divide(passes)):
                torch.manual_seed(step_seed(self._section.seed, state.step))  # masks are of the whole batch
                state.distributed.divide(state.network, number, passes)
                is_last = number == passes - 1
                with nullcontext() if is_last else state.distributed.without_averaging(state.ddp):
                    part_loss = self._objective.loss(self._network, part) / passes
                    state.update.backward(part_loss)
                loss += part_loss.detach()
        state.update(loss.detach())


class CudaGraph:
    """`work` recorded once and replayed: the host launches one graph instead of a thousand kernels."""

    def __init__(self, work: Callable[[Batch], None]) -> None:
        self._work, self._calls = work, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Batch | None = None

    def __call__(self, batch: Batch) -> None:
        """Do the work on `batch`, which has the shapes of every other batch."""
        self._calls += 1
        if self._calls <= WARMUP_STEPS:
            self._warm_up(batch)
            return
        if self._graph is None:
            self._capture(batch)
        assert self._graph is not None
        assert self._inputs is not None
        for kept, new in zip(self._inputs, batch, strict=True):
            if kept is not None and new is not None:
                kept.copy_(new)
        self._graph.replay()

    def _warm_up(self, batch: Batch) -> None:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._work(batch)
        torch.cuda.current_stream().wait_stream(side)

    def _capture(self, batch: Batch) -> None:
        self._inputs = Batch(*(None if tensor is None else tensor.clone() for tensor in batch))  # type: ignore[arg-type]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._work(self._inputs)
        self._graph = graph
