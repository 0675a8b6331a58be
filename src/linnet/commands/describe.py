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
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.noising import NOISING_EXAMPLES, NOISING_STEPS
from linnet.inference.reference_sets import UNTRAINED_STEPS
from linnet.inference.sampling import plan_samples
from linnet.modalities.dispatch import get_modality
from linnet.modalities.statistics import neutral_statistics
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.models.hashed_text_encoder import NGRAMS_PER_WORD
from linnet.progress import log
from linnet.recipe import (
    AsTrained,
    ClassLabel,
    DPMSolver,
    HuggingFaceTextEncoder,
    MultiLabel,
    Recipe,
    SamplerSection,
    SampleSection,
    Text,
    TrainedTextEncoder,
    TrainingRecipe,
    Unconditional,
)
from linnet.stages.train import GRID_EXAMPLES, GRID_SAMPLER
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext
from linnet.training.loop import new_state, train_step
from linnet.training.loss import DiffusionLoss

WARMUP_SECONDS = 4.0
MEASURE_SECONDS = 3.0
DRAW_BATCH = 64
MEASURED_DRAW_STEPS = 3
STAGE_START_SECONDS = 5.0  # imports, hashing and MLflow; seen on two cores of a 2026 server


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
    projected_hours: float  # train, sample, restore and evaluate
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
    log(f"describe: timing a few steps on {device}")
    step_seconds = _time_training(training, device)
    memory = _peak_memory(device)
    draw_seconds, plain_seconds = _time_both_drawings(recipe, device)
    seconds_by_stage = _project(recipe, step_seconds, draw_seconds, plain_seconds)
    by_stage = {name: seconds / 3600 for name, seconds in seconds_by_stage.items()}
    network = _meta_network(training)
    return Description(
        name=recipe.name,
        model=training.model.kind,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops_per_example=both,
        flops_per_example_forward=forward,
        bytes_per_example=_stored_bytes(training) + (0 if isinstance(training.conditioning, Unconditional) else 8),
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
    x = torch.empty(1, *recipe.data.shape, device="meta")
    level = torch.empty(1, device="meta")
    condition = meta_condition(recipe)
    with FlopCounterMode(display=False) as counter:
        answer = network(x, level, condition)
        forward = counter.get_total_flops()
        answer.sum().backward()
    return forward, counter.get_total_flops()


def meta_condition(recipe: TrainingRecipe) -> Tensor | None:
    """A condition of one example in the shape that the network takes, without memory."""
    match recipe.conditioning:
        case Unconditional():
            return None
        case ClassLabel():
            return torch.empty(1, dtype=torch.int64, device="meta")
        case MultiLabel(num_labels=labels):
            return torch.empty(1, labels, device="meta")
        case Text(encoder=TrainedTextEncoder() as encoder):
            return torch.empty(1, encoder.max_words, NGRAMS_PER_WORD, dtype=torch.int64, device="meta")
        case Text(encoder=HuggingFaceTextEncoder() as encoder):
            return torch.empty(1, encoder.width, device="meta")
        case _:
            raise AssertionError(recipe.conditioning)


def _stored_bytes(recipe: TrainingRecipe) -> int:
    """Of one training example on disk."""
    shape, dtype = get_modality(recipe.data).stored
    return math.prod(shape) * dtype.itemsize


def _random_examples(recipe: TrainingRecipe, count: int) -> NDArray[Any]:
    shape, dtype = get_modality(recipe.data).stored
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)


def _meta_network(recipe: TrainingRecipe) -> torch.nn.Module:
    with torch.device("meta"):
        return build_network(recipe)


def _time_training(recipe: TrainingRecipe, device: torch.device) -> float:
    network = to_device(build_network(recipe), device)
    section = recipe.train
    state = new_state(network, section, DistributedContext.single_process(device))
    examples = _random_examples(recipe, 4 * section.batch_size)
    labels = np.zeros(len(examples), dtype=np.int64)
    statistics = neutral_statistics(recipe.data)
    compute_loss = DiffusionLoss(recipe, statistics, examples, labels, state.distributed, start_step=0)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = CheckpointStore(Path(scratch), every_seconds=math.inf)
        return _median_seconds(lambda: train_step(state, section, compute_loss, checkpoints), device)


def _time_both_drawings(recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Seconds for one step of (a sample, an example as long as in training without guidance)."""
    section = recipe.sample
    plain = section.model_copy(update={"guidance_scale": 1.0, "length": AsTrained(kind="as_trained")})
    seconds = _time_drawing(recipe.training(), section, device)
    return seconds, seconds if plain == section else _time_drawing(recipe.training(), plain, device)


def _time_drawing(recipe: TrainingRecipe, section: SampleSection, device: torch.device) -> float:
    """Seconds for one sample and one step, drawn in batches as the stages do."""
    network = to_device(build_network(recipe), device)
    statistics = neutral_statistics(recipe.data)
    diffusion_model = DiffusionModel.of(network, recipe, statistics, device)
    count = min(DRAW_BATCH, section.num_samples)
    steps = min(MEASURED_DRAW_STEPS, recipe.diffusion.schedule.num_timesteps)
    sampler = DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps)
    section = section.model_copy(update={"num_samples": count, "sampler": sampler})

    def draw() -> None:
        plan_samples(recipe, statistics, section).sample(diffusion_model, list(range(count)))

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


def _project(recipe: Recipe, step_seconds: float, draw_seconds: float, plain_seconds: float) -> dict[str, float]:
    """Seconds of each stage; grids and restorations are as long as training examples, and without guidance."""
    section = recipe.train
    grids = math.ceil(section.num_steps / section.steps_for(section.grid_every_kexamples))
    samples, restore = recipe.sample.num_samples, recipe.restore
    solver: SamplerSection = recipe.sample.sampler
    return {
        "train": STAGE_START_SECONDS
        + section.num_steps * step_seconds
        + grids * GRID_EXAMPLES * GRID_SAMPLER.num_steps * plain_seconds,
        "sample": STAGE_START_SECONDS + (samples * solver.num_steps + NOISING_EXAMPLES * NOISING_STEPS) * draw_seconds,
        "restore": STAGE_START_SECONDS
        + len(restore.degradations) * restore.num_examples * restore.num_draws * restore.num_steps * plain_seconds,
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
