"""All that a training is made of, as a checkpoint holds it."""

import math
from dataclasses import dataclass, field
from typing import Any, assert_never

from torch import Tensor, nn

from linnet.recipe import TrainSection
from linnet.training.distributed import DistributedContext
from linnet.training.ema import EMA
from linnet.training.update import Update


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
    update: Update
    distributed: DistributedContext  # not in the checkpoint
    ddp: nn.Module  # not in the checkpoint: the network, wrapped where that averages gradients over ranks
    step: int = 0
    seconds: float = 0.0  # of training so far, stops left out
    history: list[HistoryRow] = field(default_factory=list)
    grids: dict[int, Tensor] = field(default_factory=dict)  # by step: the bytes of a PNG file, uint8

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers, loadable with `weights_only=True`."""
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "update": self.update.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "history": [vars(row) for row in self.history],
            "grids": self.grids,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved."""
        self.network.load_state_dict(state["network"])
        self.ema.network.load_state_dict(state["ema"])
        self.update.load_state_dict(state["update"])
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.history = [HistoryRow(**row) for row in state["history"]]
        self.grids = {step: png.cpu() for step, png in state["grids"].items()}


def new_state(network: nn.Module, section: TrainSection, distributed: DistributedContext) -> TrainState:
    """The state before the first step; `network` must already be on the device of `distributed`."""
    network = distributed.sync_layers(network)
    ema = EMA(network, section.ema_decay)
    average = distributed.shared_average(network)
    return TrainState(
        network=network,
        ema=ema,
        update=Update(network, ema, section, distributed, average),
        distributed=distributed,
        ddp=distributed.wrap_ddp(network) if average is None else network,
    )


def learning_rate(section: TrainSection, step: int) -> float:
    """Linear warmup to the peak, then constant or half a cosine to zero (Loshchilov & Hutter 2017); `step` from 0."""
    warmup_steps = round(section.warmup_kexamples * 1000 / section.batch_size)
    if step < warmup_steps:
        return section.learning_rate * (step + 1) / warmup_steps
    match section.learning_rate_decay:
        case "none":
            return section.learning_rate
        case "cosine":
            share = (step - warmup_steps) / (section.num_steps - warmup_steps)
            return section.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        case _:
            assert_never(section.learning_rate_decay)
