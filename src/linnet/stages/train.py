"""train: a dataset in, a model out."""

import csv
import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Self, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linnet import storage
from linnet.artifacts import Dataset, Model, git_commit, input_hash, is_current, read_provenance, write_provenance
from linnet.data.arrays import open_array
from linnet.files import ArtifactError, folder_lock, new_folder, read_json, write_json, write_text
from linnet.inference.diffusion_model import DiffusionModel
from linnet.modalities.conditions import known_conditions
from linnet.modalities.statistics import Statistics, read_statistics
from linnet.models.build import build_network
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.device import to_device, use_deterministic_kernels
from linnet.models.flops import matmul_peak
from linnet.models.precision import has_units, resolve_precision
from linnet.models.weights import save_weights
from linnet.progress import ProgressBar, log
from linnet.recipe import (
    ClassLabel,
    Conditioning,
    DPMSolver,
    MultiLabel,
    NamedTrainingRecipe,
    Precision,
    Text,
    TrainingRecipe,
    TrainSection,
    Unconditional,
    flatten,
    section_hash,
)
from linnet.reports import html
from linnet.stages.table import TRAIN
from linnet.tracking.client import GIT_COMMIT
from linnet.tracking.run import NoTracker, RunTracker, Tracker
from linnet.training.checkpoint import CheckpointStore
from linnet.training.distributed import DistributedContext, distributed_context
from linnet.training.execution import check_passes, choose_execution
from linnet.training.loop import fit
from linnet.training.loss import DiffusionLoss
from linnet.training.memory import explains_batch_memory
from linnet.training.state import HistoryRow, TrainState, new_state
from linnet.training.stopping import stop_on_signals
from linnet.training.throughput import Cost, Interval, Meter


def run(
    recipe: NamedTrainingRecipe,
    *,
    dataset: Path,
    out: Path,
    work: Path,
    mirror: str | None,
    device: torch.device,
    checkpoint_every_seconds: float,
    keep_checkpoint: bool,
    track: bool,
    passes: int = 1,
    deterministic: bool = False,
) -> None:
    """Train the recipe's network on `dataset` and write the model folder `out`; in every process torchrun started.

    A run that was stopped resumes from its newest checkpoint in `work` when the command is repeated; it ends in the
    same weights as a run without a stop.

    Args:
        work: a folder of this machine for checkpoints and unfinished results; only the main process uses it.
        mirror: an s3:// address to which checkpoints are copied, where `work` does not outlive this machine.
        keep_checkpoint: leave the last one, because `out` is on this machine only and still has to be uploaded.

        passes: through the network in a step, each over a part of the batch, so that less memory is needed.
        deterministic: whether only kernels are used that give the same bits again; on CPUs all do.

    Raises:
        ArtifactError: `dataset` is missing, or does not fit the recipe.
        BatchMemoryError: the batch does not fit into the memory.
        ExecutionError: `passes` do not divide the batch.
        DistributedError: the recipe cannot be distributed over the processes that torchrun started.
        NonFiniteLossError: the loss or the gradient is not finite; the last good checkpoint is kept.
        Stopped: SIGINT or SIGTERM asked to stop.
    """
    training = recipe.training()
    if deterministic:
        use_deterministic_kernels()
    with distributed_context(device, batch_size=training.train.batch_size) as distributed:
        statistics = _check_dataset(training, dataset)
        precision = resolve_precision(training.train.precision, device)
        inputs = {"dataset": _dataset_hash(dataset, distributed), "precision": precision}
        key = training_key(recipe, inputs["dataset"], precision)
        if distributed.all_reduce_max(distributed.is_main_process and is_current(out, key)):
            _log(distributed, f"{out}: already trained from this data and these settings")
            return
        peak = matmul_peak(device, precision)  # before MLflow is imported beside it
        with ExitStack() as stack:
            folder = work / f"train-{key[:16]}"
            remote = storage.join(mirror, folder.name) if mirror else None
            checkpoints = CheckpointStore(folder, every_seconds=checkpoint_every_seconds, remote=remote)
            if distributed.is_main_process:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(folder_lock(folder, what=out))
            track = track and distributed.is_main_process
            tracker = stack.enter_context(_tracker(recipe, key, inputs["dataset"], track=track))
            profile = json.dumps({"num_rows": statistics.train_count})
            tracker.log_dataset(training.data.folder, inputs["dataset"], str(dataset), profile)
            if not has_units(precision, device):
                _log(
                    distributed,
                    f"train: {device.type} has no units for {precision} and computes it in software, several times "
                    f"slower than {resolve_precision('auto', device)}: --set train.precision=auto",
                )
            section = training.train.model_copy(update={"precision": precision})
            resolved = training.model_copy(update={"train": section})
            state, cost = _fit(resolved, statistics, dataset, distributed, checkpoints, tracker, passes, peak)
            if distributed.is_main_process:
                if keep_checkpoint:
                    checkpoints.save(state.state_dict())
                checkpoints.wait()
                with new_folder(out) as model:
                    _write_model(model, state, resolved, dataset)
                    write_provenance(model, TRAIN, [training], inputs)
                write_json(Model.cost(out), cost.as_json())
                if not keep_checkpoint:
                    checkpoints.discard()
                    shutil.rmtree(folder)
        _log(distributed, f"{out}: {recipe.train.num_steps} steps, last loss {state.history[-1].loss:.4f}")


def training_key(recipe: NamedTrainingRecipe, dataset_hash: str, precision: Precision) -> str:
    """The hash that names a training: of its recipe sections, its dataset, its code and the resolved precision."""
    return input_hash(TRAIN, [recipe.training()], {"dataset": dataset_hash, "precision": precision})


def _dataset_hash(dataset: Path, distributed: DistributedContext) -> str:
    """The main process reads every byte, and the others take its word."""
    local = {"hash": Dataset.content_hash(dataset)} if distributed.is_main_process else None
    shared = distributed.broadcast(local)
    assert shared is not None
    return str(shared["hash"])


def _log(distributed: DistributedContext, message: str) -> None:
    if distributed.is_main_process:
        log(message)


def _tracker(recipe: NamedTrainingRecipe, key: str, dataset_hash: str, *, track: bool) -> Tracker:
    if not track:
        return NoTracker()
    return RunTracker(
        key,
        run_name=recipe.name,
        params=flatten(recipe),
        tags={
            "linnet.recipe_hash": section_hash(recipe.training()),
            "linnet.data_hash": dataset_hash,
            GIT_COMMIT: git_commit(),
        },
        system_metrics=True,
    )


def _check_dataset(recipe: TrainingRecipe, dataset: Path) -> Statistics:
    provenance = read_provenance(dataset, made_by="preprocess")
    if provenance["recipe_hash"] != section_hash(recipe.data):
        raise ArtifactError(f"{dataset} was made with other [data] settings; run `linnet preprocess` again")
    statistics = read_statistics(dataset / Dataset.statistics, made_by="preprocess")
    _check_conditions(recipe.conditioning, statistics, dataset)
    return statistics


def _check_conditions(section: Conditioning, statistics: Statistics, dataset: Path) -> None:
    match section:
        case ClassLabel(num_classes=given):
            field, needed = "num_classes", 1 + int(np.flatnonzero(statistics.example_counts).max())
        case MultiLabel(num_labels=given):
            field, needed = "num_labels", len(statistics.label_names)
        case Unconditional() | Text():
            return
        case _:
            assert_never(section)
    if needed > given:
        what = "classes" if field == "num_classes" else "labels"
        raise ArtifactError(
            f"{dataset} has {needed} {what}, [conditioning] {field} = {given}; set {field} = {needed} or more"
        )


def _fit(
    recipe: TrainingRecipe,
    statistics: Statistics,
    dataset: Path,
    distributed: DistributedContext,
    checkpoints: CheckpointStore,
    tracker: Tracker,
    passes: int,
    peak: float,
) -> tuple[TrainState, Cost]:
    """Train to the end, from the newest checkpoint if there is one."""
    section, device = recipe.train, distributed.device
    network = to_device(build_network(recipe), device)
    check_passes(passes, network, batch_size=section.batch_size, world_size=distributed.world_size)
    state = new_state(network, section, distributed)
    if saved := distributed.broadcast(checkpoints.load(device) if distributed.is_main_process else None):
        state.load_state_dict(saved)
        _log(distributed, f"train: resuming after step {state.step} of {section.num_steps}")
    objective = DiffusionLoss(
        recipe,
        statistics,
        np.asarray(open_array(dataset / Dataset.training_examples(recipe.data))),
        np.asarray(open_array(dataset / Dataset.labels("train"))),
        distributed,
        noise_level=network.noise_level,
        start_step=state.step,
    )

    def on_grid() -> None:
        image = preview_grid(state.ema.network, recipe, statistics, device)
        state.grids[state.step] = torch.frombuffer(bytearray(html.png(image)), dtype=torch.uint8)
        tracker.log_image("samples", image, state.step)

    meter = Meter.of(state.network, recipe, distributed, peak=peak)
    execution = choose_execution(section.num_steps, distributed, passes=passes)
    if execution.compiled:
        _log(distributed, "train: the network is compiled before the first step, which takes a minute or two")
    with (
        stop_on_signals() as stop,
        explains_batch_memory(recipe, distributed, passes=passes),
        _Watch(state, section, meter, tracker) as watch,
    ):
        fit(
            state,
            section,
            objective,
            execution=execution,
            checkpoints=checkpoints,
            stop=stop,
            on_step=watch.on_step,
            on_log=watch.on_log,
            on_grid=on_grid,
        )
    return state, meter.cost(state.seconds)


class _Watch:
    """Tells people and MLflow how the training goes; in the main process only."""

    def __init__(self, state: TrainState, section: TrainSection, meter: Meter, tracker: Tracker) -> None:
        self._state, self._section, self._meter, self._tracker = state, section, meter, tracker
        self._rates = ""
        self._bar: ProgressBar | None = None
        if state.distributed.is_main_process:
            self._bar = ProgressBar("train: steps", section.num_steps, done=state.step)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def on_step(self, steps: int, loss: float) -> None:
        """`steps` more are taken, the newest with this loss."""
        if self._bar is not None:
            self._bar.advance(steps, note=f"loss {loss:.4f}{self._rates}")

    def on_log(self, row: HistoryRow, interval: Interval) -> None:
        """A new row of the history, and what it took."""
        rates, cost = self._meter.add(interval), self._meter.cost(self._state.seconds)
        self._rates = f", {rates}"
        examples_left = (self._section.num_steps - row.step) * self._section.batch_size
        self._tracker.log_metrics(
            {
                "loss": row.loss,
                "learning_rate": row.learning_rate,
                "gradient_norm": row.gradient_norm,
                **asdict(rates),
                "memory_gib": cost.peak_memory_bytes / 2**30,
                "device_hours": cost.device_hours,
                "hours_left": examples_left / rates.examples_per_second / 3600,
            },
            row.step,
        )


def _write_model(model: Path, state: TrainState, recipe: TrainingRecipe, dataset: Path) -> None:
    for name, network in ((Model.weights, state.network), (Model.ema_weights, state.ema.network)):
        save_weights(model / name, network)
    write_text(model / Model.recipe, recipe.model_dump_json(indent=2) + "\n")
    write_json(model / Model.statistics, read_json(dataset / Dataset.statistics, made_by="preprocess"))
    with (model / Model.history).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(HistoryRow)])
        writer.writerows([vars(row).values() for row in state.history])
    (model / Model.grids).mkdir()
    for step, grid in state.grids.items():
        (model / Model.grids / f"step_{step:08d}.png").write_bytes(grid.numpy().tobytes())


# --- preview: for people to look at while the model trains; it decides nothing ----------------------------------------

GRID_EXAMPLES = 36
GRID_SAMPLER = DPMSolver(
    kind="dpm_solver_pp_2m", num_steps=10, spacing="log_snr"
)  # only to look at; scores come from [sample]


def preview_grid(
    network: nn.Module, recipe: TrainingRecipe, statistics: Statistics, device: torch.device
) -> NDArray[np.uint8]:
    """Samples from the same noise and conditions every time, so that progress can be seen: uint8 [H, W, 3]."""
    assert isinstance(network, DenoisingNetwork), type(network)
    diffusion_model = DiffusionModel.of(network, recipe, statistics, device)
    section, conditions = recipe.conditioning, None
    if not isinstance(section, Unconditional):
        present, known = np.flatnonzero(statistics.example_counts), known_conditions(section, statistics)
        conditions = [known[number] for number in present[np.arange(GRID_EXAMPLES) * len(present) // GRID_EXAMPLES]]
    steps = min(GRID_SAMPLER.num_steps, recipe.diffusion.schedule.num_timesteps)
    x = diffusion_model.sample(
        GRID_SAMPLER.model_copy(update={"num_steps": steps}),
        seed=recipe.train.seed,
        indices=list(range(GRID_EXAMPLES)),
        conditions=conditions,
        guidance_scale=1.0,
        clip_x0=True,
        precision=recipe.train.precision,
    )
    return html.grid(diffusion_model.codec.preview(diffusion_model.codec.decode(x)))
