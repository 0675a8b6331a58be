"""describe: what a recipe is and what it will cost on this machine, before anything is spent."""

import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from linnet.progress import say
from linnet.recipe import DPMSolver, Recipe, SamplerSection, TrainingRecipe
from linnet.stages.evaluate import UNTRAINED_STEPS
from linnet.stages.loss import LossComputer
from linnet.stages.sample import NOISING_PICTURES, NOISING_STEPS
from linnet.stages.train import GRID_PICTURES, GRID_SAMPLER
from linnet.stages.wiring import IMAGE_CHANNELS, Painter, Standardisation, build_network, num_classes, place
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import Ranks
from linnet.training.loop import new_state, train_step

WARMUP_SECONDS = 4.0
MEASURE_SECONDS = 3.0
DRAW_BATCH = 64
MEASURED_DRAW_STEPS = 3
STAGE_START_SECONDS = 5.0  # imports, hashing and MLflow; seen on two cores of a 2026 server
NEUTRAL_STATISTICS = {"mean": [0.5] * IMAGE_CHANNELS, "std": [0.25] * IMAGE_CHANNELS}


@dataclass(frozen=True)
class Description:
    """What `linnet describe` prints."""

    name: str
    model: str
    parameters: int
    flops_per_example: int  # forward and backward of one training example, multiplications and additions counted apart
    flops_per_example_forward: int
    bytes_per_example: int  # read from the dataset
    examples: int  # seen in training, repeats included
    steps: int
    device: str
    projected_hours: float  # train, sample and evaluate
    projected_hours_by_stage: dict[str, float]
    projected_memory_bytes: int  # peak of the training process; on a GPU, of its memory

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """For people."""
        stages = ", ".join(f"{name} {_duration(hours)}" for name, hours in self.projected_hours_by_stage.items())
        rows = {
            "model": f"{self.model}, {self.parameters:,} parameters",
            "training": f"{self.examples:,} examples in {self.steps:,} steps",
            "per example": f"{self.flops_per_example / 1e9:.2f} GFLOP ({self.flops_per_example_forward / 1e9:.2f} "
            f"forward), {self.bytes_per_example:,} bytes read",
            "in all": f"{self.flops_per_example * self.examples / 1e15:.3g} PFLOP to train",
            f"on {self.device}": f"about {_duration(self.projected_hours)} ({stages})",
            "memory": f"about {self.projected_memory_bytes / 2**30:.1f} GiB",
        }
        width = max(map(len, rows))
        return "\n".join([self.name, *(f"  {key:<{width}}  {value}" for key, value in rows.items())])


def run(recipe: Recipe, *, device: torch.device) -> Description:
    """Count exactly what can be counted, time a few steps on `device` for the rest."""
    training = recipe.training()
    forward, both = count_flops(training)
    say(f"describe: timing a few steps on {device}")
    step_seconds = _time_training(training, device)
    memory = _peak_memory(device)
    draw_seconds = _time_drawing(training, recipe, device)
    by_stage = {name: seconds / 3600 for name, seconds in _project(recipe, step_seconds, draw_seconds).items()}
    size = training.data.image_size_pixels
    network = _meta_network(training)
    return Description(
        name=recipe.name,
        model=training.model.kind,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops_per_example=both,
        flops_per_example_forward=forward,
        bytes_per_example=size * size * IMAGE_CHANNELS + (8 if num_classes(training) else 0),
        examples=training.train.num_steps * training.train.batch_size,
        steps=training.train.num_steps,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU cores",
        projected_hours=sum(by_stage.values()),
        projected_hours_by_stage=by_stage,
        projected_memory_bytes=memory,
    )


def count_flops(recipe: TrainingRecipe) -> tuple[int, int]:
    """(forward, forward and backward) of one example, by torch's counter on tensors without memory."""
    network = _meta_network(recipe)
    size = recipe.data.image_size_pixels
    x = torch.empty(1, IMAGE_CHANNELS, size, size, device="meta")
    level = torch.empty(1, device="meta")
    labels = torch.empty(1, dtype=torch.int64, device="meta") if num_classes(recipe) else None
    with FlopCounterMode(display=False) as counter:
        answer = network(x, level, labels)
        forward = counter.get_total_flops()
        answer.sum().backward()
    return forward, counter.get_total_flops()


def _meta_network(recipe: TrainingRecipe) -> torch.nn.Module:
    with torch.device("meta"):
        return build_network(recipe)


def _time_training(recipe: TrainingRecipe, device: torch.device) -> float:
    network = place(build_network(recipe), device)
    section = recipe.train
    state = new_state(network, section, Ranks.alone(device))
    size, rng = recipe.data.image_size_pixels, np.random.default_rng(0)
    images = rng.integers(0, 256, (4 * section.batch_size, size, size, IMAGE_CHANNELS), dtype=np.uint8)
    labels = np.zeros(len(images), dtype=np.int64)
    standardisation = Standardisation.of(NEUTRAL_STATISTICS, device)
    compute_loss = LossComputer(recipe, standardisation, images, labels, state.ranks, start_step=0)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = CheckpointStore(Path(scratch), every_seconds=math.inf)
        return _median_seconds(lambda: train_step(state, section, compute_loss, checkpoints), device)


def _time_drawing(recipe: TrainingRecipe, whole: Recipe, device: torch.device) -> float:
    """Seconds for one picture and one step, drawn in batches as the stages do."""
    network = place(build_network(recipe), device)
    painter = Painter(network, recipe, Standardisation.of(NEUTRAL_STATISTICS, device), device)
    count = min(DRAW_BATCH, whole.sample.num_samples)
    steps = min(MEASURED_DRAW_STEPS, recipe.diffusion.schedule.num_timesteps)
    sampler = DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps)

    def draw() -> None:
        painter.draw(
            sampler,
            seed=0,
            numbers=list(range(count)),
            labels=[0] * count if num_classes(recipe) else None,
            guidance_scale=whole.sample.guidance_scale,
            clip_x0=whole.sample.clip_x0,
            precision=whole.sample.precision,
        )

    return _median_seconds(draw, device) / count / steps


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of `work` once it is warm: allocators and kernel caches settle only after seconds.

    Work that takes longer than the warm-up is timed once after it.
    """
    times: list[float] = []
    started = time.perf_counter()
    while True:
        before = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        if before - started >= WARMUP_SECONDS:
            times.append(now - before)
        if times and now - started >= WARMUP_SECONDS + MEASURE_SECONDS:
            return statistics.median(times)


def _project(recipe: Recipe, step_seconds: float, draw_seconds: float) -> dict[str, float]:
    section = recipe.train
    grids = math.ceil(section.num_steps / section.steps_for(section.grid_every_kexamples))
    samples = recipe.sample.num_samples
    solver: SamplerSection = recipe.sample.sampler
    return {
        "train": STAGE_START_SECONDS
        + section.num_steps * step_seconds
        + grids * GRID_PICTURES * GRID_SAMPLER.num_steps * draw_seconds,
        "sample": STAGE_START_SECONDS + (samples * solver.num_steps + NOISING_PICTURES * NOISING_STEPS) * draw_seconds,
        "evaluate": STAGE_START_SECONDS + samples * UNTRAINED_STEPS * draw_seconds,
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _duration(hours: float) -> str:
    minutes = hours * 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
