"""describe: what a recipe trains and what that costs on this machine, before anything is spent."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from linnet.inference.diffusion_model import DiffusionModel
from linnet.inference.memory import sampling_memory
from linnet.inference.noising import NOISING_EXAMPLES, NOISING_STEPS
from linnet.inference.reference_sets import UNTRAINED_STEPS
from linnet.inference.sampling import plan_samples, sample_length
from linnet.memory import in_words
from linnet.modalities.dispatch import get_modality
from linnet.modalities.statistics import neutral_statistics
from linnet.models.attention import CPU_PRODUCT_TOKENS
from linnet.models.build import build_network
from linnet.models.device import to_device
from linnet.models.flops import TRAINING_TIMES_FORWARD, count_flops, matmul_peak
from linnet.models.memory import BatchMemoryError, available_on, explains_memory
from linnet.models.precision import has_units, resolve_precision
from linnet.progress import log
from linnet.recipe import (
    AsTrained,
    DPMSolver,
    Recipe,
    ResolvedPrecision,
    SampleSection,
    TrainingRecipe,
    Unconditional,
)
from linnet.stages.train import GRID_EXAMPLES, GRID_SAMPLER
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER, choose_execution
from linnet.training.memory import ALL_COPIES, explain_batch, step_memory
from linnet.training.rehearsal import rehearse
from linnet.training.throughput import device_name, peak_memory_bytes

WARMUP_SECONDS = 4.0
MEASURE_SECONDS = 3.0
SAMPLE_BATCH_SIZE = 64
TIMED_SAMPLING_STEPS = 3
STAGE_START_SECONDS = 5.0  # imports, hashing and MLflow; seen on two cores of a 2026 server
LABEL_BYTES = 8  # int64
NOT_ONE_EXAMPLE = "the memory does not hold one example; take a smaller [model], or a machine with more memory"
MEMORY_ESTIMATE = (
    "the memory ran out though the batch fits by estimate; lower train.batch_size, or stop what else takes memory"
)


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
    precision: ResolvedPrecision  # of training
    examples_per_second: float  # in training, one process, each kernel by itself
    peak_share: float  # of what large matrix products reach on the device
    kernels: str  # which of several are taken, and why
    fp32_gain: float | None  # times as fast in fp32, where the recipe's precision has no units on this device
    projected_hours: float  # train, sample, restore and evaluate
    projected_hours_by_stage: dict[str, float]
    projected_memory_bytes: int  # peak of the training process; on a GPU, of its memory
    free_memory_bytes: int  # before anything was built
    largest_batch_size: int  # that fits into it by estimate, in one process and one pass
    measured_batch_size: int  # the recipe's, or that where the recipe's does not fit
    remedy: str  # where the recipe's batch does not fit; else empty

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
            "speed": f"{self.examples_per_second:.3g} examples/s in training, {self.peak_share:.0%} of the peak "
            "of large matrix products here",
            "kernels": self.kernels,
            "precision": self._precision(),
            "memory": f"about {in_words(self.projected_memory_bytes)} of the {in_words(self.free_memory_bytes)} that "
            f"are free; the largest batch that fits by estimate: {self.largest_batch_size:,}",
        }
        if self.remedy:
            rows["too large"] = (
                f"{self.remedy}. All times here are projected from batches of {self.measured_batch_size}"
            )
        width = max(map(len, rows))
        return "\n".join([self.name, *(f"  {key:<{width}}  {value}" for key, value in rows.items())])

    def _precision(self) -> str:
        if self.fp32_gain is None:
            return self.precision
        return (
            f"{self.precision}, for which this device has no units: in fp32 a training step is {self.fp32_gain:.1f} "
            "times as fast (--set train.precision=fp32)"
        )


def run(recipe: Recipe, *, device: torch.device) -> Description:
    """Count exactly what can be counted, and time a few steps on `device` for the rest."""
    training, section = recipe.training(), recipe.train
    with torch.device("meta"):
        network = build_network(training)
    forward = count_flops(network, training)
    both = TRAINING_TIMES_FORWARD * forward
    free = available_on(device)
    with explains_memory(device, lambda _free, reason: f"{recipe.name}: {NOT_ONE_EXAMPLE} ({reason})"):
        memory = step_memory(training, device, copies=ALL_COPIES)
    largest = memory.largest(free)
    remedy = ""
    if largest < section.batch_size:
        remedy = explain_batch(training, memory, free, device, ranks=1, passes=1)
        if not largest:
            raise BatchMemoryError(remedy)
    measured = min(section.batch_size, largest)
    log(f"describe: timing a few steps on {device}")
    precision = resolve_precision(section.precision, device)
    with explains_memory(device, lambda _free, reason: f"{recipe.name}: {MEMORY_ESTIMATE} ({reason})"):
        seconds_per_example = _time_training(training, device, measured)
        fp32_gain = None
        if precision != "fp32" and not has_units(precision, device):
            fp32 = training.model_copy(update={"train": section.model_copy(update={"precision": "fp32"})})
            fp32_gain = seconds_per_example / _time_training(fp32, device, measured)
        peak_bytes = memory.of(section.batch_size) if remedy else peak_memory_bytes(device)
        sample_seconds, plain_seconds = _time_sampling(recipe, device)
    train_seconds = seconds_per_example * section.batch_size
    peak_share = both / seconds_per_example / matmul_peak(device, precision)
    hours = {
        stage: seconds / 3600
        for stage, seconds in _project(recipe, train_seconds, sample_seconds, plain_seconds).items()
    }
    shape, dtype = get_modality(recipe.data).stored
    label_bytes = 0 if isinstance(recipe.conditioning, Unconditional) else LABEL_BYTES
    return Description(
        name=recipe.name,
        model=recipe.model.kind,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops_per_example=both,
        flops_per_example_forward=forward,
        bytes_per_example=math.prod(shape) * dtype.itemsize + label_bytes,
        examples=section.num_steps * section.batch_size,
        steps=section.num_steps,
        device=device_name(device),
        precision=precision,
        examples_per_second=1 / seconds_per_example,
        peak_share=peak_share,
        kernels=_kernels(recipe, device),
        fp32_gain=fp32_gain,
        projected_hours=sum(hours.values()),
        projected_hours_by_stage=hours,
        projected_memory_bytes=peak_bytes,
        free_memory_bytes=free,
        largest_batch_size=largest,
        measured_batch_size=measured,
        remedy=remedy,
    )


def _time_training(recipe: TrainingRecipe, device: torch.device, batch_size: int) -> float:
    """Seconds of an example in a training step of `batch_size`."""
    measured = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": batch_size})})
    step = rehearse(measured, DistributedContext.single_process(device), EAGER)
    return _median_seconds(step, device) / batch_size


def _time_sampling(recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Seconds of one sampling step of (a sample, an example as long as in training, without guidance)."""
    section = recipe.sample
    plain = section.model_copy(update={"guidance_scale": 1.0, "length": AsTrained(kind="as_trained")})
    seconds = _time_sampling_step(recipe.training(), section, device)
    return seconds, seconds if plain == section else _time_sampling_step(recipe.training(), plain, device)


def _time_sampling_step(recipe: TrainingRecipe, section: SampleSection, device: torch.device) -> float:
    """Seconds of one step of one sample, in batches as the stages sample."""
    statistics = neutral_statistics(recipe.data)
    model = DiffusionModel.of(to_device(build_network(recipe), device), recipe, statistics, device)
    length = sample_length(recipe, section, None)
    fitting = sampling_memory(model, section.precision, frames=length.frames).largest(available_on(device))
    count = max(1, min(SAMPLE_BATCH_SIZE, section.num_samples, fitting))
    steps = min(TIMED_SAMPLING_STEPS, recipe.diffusion.schedule.num_timesteps)
    sampler = DPMSolver(kind="dpm_solver_pp_2m", num_steps=steps, spacing="trailing")
    section = section.model_copy(update={"num_samples": count, "sampler": sampler})

    def sample() -> None:
        plan_samples(recipe, statistics, section).sample(model, list(range(count)))

    return _median_seconds(sample, device) / count / steps


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


def _kernels(recipe: Recipe, device: torch.device) -> str:
    """Which kernels a training takes on `device`, in words; the measurements are in docs/performance.md."""
    if device.type == "cpu":
        return (
            "contiguous tensors (group norm is slow on channels last); attention by matrix products up to "
            f"{CPU_PRODUCT_TOKENS:,} tokens (torch's fused kernel is slower there); doubling convolutions of 2 x 2 (4 "
            "of 9 multiplications); not compiled (nothing is gained)"
        )
    steps = recipe.train.num_steps
    execution = choose_execution(steps, DistributedContext.single_process(device))
    compiled = (
        f"compiled (two minutes that {steps:,} steps earn back)"
        if execution.compiled
        else f"not compiled ({steps:,} steps do not earn two minutes back)"
    )
    return f"channels last (tensor cores take it); fused attention; {compiled}; one CUDA graph a step in one process"


def _project(recipe: Recipe, train_seconds: float, sample_seconds: float, plain_seconds: float) -> dict[str, float]:
    """Seconds of each stage, from those of a training step and of one example's sampling steps.

    Grids and restorations are as long as training examples, and without guidance.
    """
    train, restore, num_samples = recipe.train, recipe.restore, recipe.sample.num_samples
    num_grids = math.ceil(train.num_steps / train.steps_for(train.grid_every_kexamples))
    sampling_steps = num_samples * recipe.sample.sampler.num_steps + NOISING_EXAMPLES * NOISING_STEPS
    restoration_steps = len(restore.degradations) * restore.num_examples * restore.num_draws * restore.num_steps
    seconds = {
        "train": train.num_steps * train_seconds + num_grids * GRID_EXAMPLES * GRID_SAMPLER.num_steps * plain_seconds,
        "sample": sampling_steps * sample_seconds,
        "restore": restoration_steps * plain_seconds,
        "evaluate": num_samples * UNTRAINED_STEPS * sample_seconds,
    }
    return {stage: STAGE_START_SECONDS + value for stage, value in seconds.items()}


def _duration(hours: float) -> str:
    minutes = hours * 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.1f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
