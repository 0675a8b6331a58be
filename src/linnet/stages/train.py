"""train: a dataset in, a model out."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from linnet import pages
from linnet.artifacts import (
    ArtifactError,
    Dataset,
    Model,
    commit_file,
    exclusive,
    git_commit,
    input_hash,
    is_current,
    new_folder,
    read_json,
    read_provenance,
    write_json,
    write_provenance,
    write_text,
)
from linnet.data.arrays import open_array
from linnet.data.batches import batch_indices
from linnet.diffusion import objective
from linnet.diffusion.schedule import build_schedule
from linnet.models import NoiseLevel
from linnet.progress import Meter, say
from linnet.recipe import ClassLabel, DPMSolver, Recipe, TrainingRecipe, flatten, section_hash
from linnet.stages.wiring import Painter, Standardisation, Statistics, build_network, noise_level, num_classes, place
from linnet.tracking import GIT_COMMIT, NoTracker, RunTracker, Tracker
from linnet.training.checkpoint import CheckpointStore
from linnet.training.loop import HistoryRow, TrainState, autocast, fit, new_state
from linnet.training.stopping import stop_on_signals

GRID_PICTURES = 36
GRID_SAMPLER = DPMSolver(kind="dpm_solver_pp_2m", num_steps=20)  # only to look at; scores come from [sample]


def run(
    recipe: Recipe,
    *,
    dataset: Path,
    out: Path,
    work: Path,
    device: torch.device,
    checkpoint_every_seconds: float,
    track: bool,
) -> None:
    """Train the recipe's network on `dataset` and write the model folder `out`.

    A run that was stopped goes on from its newest checkpoint in `work` when the command is repeated; it ends in
    the same weights as an undisturbed one.

    Raises:
        ArtifactError: `dataset` is missing, or does not fit the recipe.
        NonFiniteLossError: the loss or the gradient is not finite; the last good checkpoint is kept.
        Stopped: SIGINT or SIGTERM asked for it.
    """
    training = recipe.training()
    statistics = _check_dataset(training, dataset)
    inputs = {"dataset": Dataset.content_hash(dataset)}
    key = input_hash("train", [training], inputs)
    if is_current(out, key):
        say(f"{out}: already trained from this data and these settings")
        return
    folder = work / f"train-{key[:16]}"
    checkpoints = CheckpointStore(folder, every_seconds=checkpoint_every_seconds)
    (folder / Model.grids).mkdir(exist_ok=True)
    tracker: Tracker = NoTracker()
    if track:
        tracker = RunTracker(
            key,
            run_name=recipe.name,
            params=flatten(recipe),
            tags={
                "linnet.recipe_hash": section_hash(training),
                "linnet.data_hash": inputs["dataset"],
                GIT_COMMIT: git_commit(),
            },
            system_metrics=True,
        )
    with exclusive(folder, what=out), tracker:
        profile = json.dumps({"num_rows": statistics["train_count"]})
        tracker.dataset(training.data.folder, inputs["dataset"], str(dataset), profile)
        state = _fit(training, statistics, dataset, device, checkpoints, folder / Model.grids, tracker)
        with new_folder(out) as model:
            _write_model(model, state, training, dataset, folder / Model.grids)
            write_provenance(model, "train", [training], inputs)
        shutil.rmtree(folder)
    say(f"{out}: {recipe.train.num_steps} steps, last loss {state.history[-1].loss:.4f}")


def _check_dataset(recipe: TrainingRecipe, dataset: Path) -> Statistics:
    provenance = read_provenance(dataset, made_by="preprocess")
    if provenance["recipe_hash"] != section_hash(recipe.data):
        raise ArtifactError(f"{dataset} was made with other [data] settings; run `linnet preprocess` again")
    statistics: Statistics = read_json(dataset / Dataset.statistics, made_by="preprocess")
    labels = open_array(dataset / Dataset.labels("train"))
    if isinstance(recipe.conditioning, ClassLabel) and int(labels.max()) >= recipe.conditioning.num_classes:
        raise ArtifactError(
            f"{dataset} has class {int(labels.max()) + 1}, [conditioning] num_classes = "
            f"{recipe.conditioning.num_classes}; set num_classes = {int(labels.max()) + 1} or more"
        )
    return statistics


def _fit(
    recipe: TrainingRecipe,
    statistics: Statistics,
    dataset: Path,
    device: torch.device,
    checkpoints: CheckpointStore,
    grids: Path,
    tracker: Tracker,
) -> TrainState:
    """The trained state: from the newest checkpoint if there is one, else from the start."""
    section = recipe.train
    state = new_state(place(build_network(recipe), device), section, device)
    if saved := checkpoints.load(device):
        state.load_state_dict(saved)
        say(f"train: going on after step {state.step} of {section.num_steps}")
    standardisation = Standardisation.of(statistics, device)
    compute_loss = LossComputer(
        recipe,
        standardisation,
        np.asarray(open_array(dataset / Dataset.images("train"))),
        np.asarray(open_array(dataset / Dataset.labels("train"))),
        device,
        start_step=state.step,
    )

    def on_log(row: HistoryRow, examples_per_second: float) -> None:
        values = {"loss": row.loss, "learning_rate": row.learning_rate, "gradient_norm": row.gradient_norm}
        tracker.metrics(values | {"examples_per_second": examples_per_second}, row.step)

    def on_grid(step: int, network: nn.Module) -> None:
        picture = paint_grid(Painter(network, recipe, standardisation, device), statistics)
        path = grids / f"step_{step:08d}.png"
        partial = path.with_suffix(".partial")
        pages.save_png(partial, picture)
        commit_file(partial, path)
        tracker.picture("samples", picture, step)

    with stop_on_signals() as stop, Meter("train: steps", section.num_steps, done=state.step) as meter:
        fit(
            state,
            section,
            compute_loss,
            checkpoints=checkpoints,
            stop=stop,
            on_step=lambda loss: meter.advance(note=f"loss {loss:.4f}"),
            on_log=on_log,
            on_grid=on_grid,
        )
    return state


class LossComputer:
    """The loss of step n on batch n: everything random in it is drawn from (seed, n)."""

    def __init__(
        self,
        recipe: TrainingRecipe,
        standardisation: Standardisation,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        device: torch.device,
        *,
        start_step: int,
    ) -> None:
        self._recipe, self._standardisation, self._device = recipe, standardisation, device
        self._images, self._labels = images, labels
        self._schedule = build_schedule(recipe.diffusion.schedule)
        self._generator = torch.Generator(device)
        section = recipe.train
        self._batches: Iterator[NDArray[np.int64]] = batch_indices(
            len(images), section.batch_size, seed=section.seed, start_step=start_step
        )

    def __call__(self, network: nn.Module, step: int) -> Tensor:
        """Scalar loss; call with consecutive steps."""
        recipe, generator, device = self._recipe, self._generator, self._device
        seed = np.random.SeedSequence([recipe.train.seed, step]).generate_state(1)[0]
        generator.manual_seed(int(seed))  # also restarts a generator on the GPU
        indices = np.sort(next(self._batches))  # in file order; the order within a batch means nothing
        x0 = self._standardisation.encode(torch.from_numpy(self._images[indices]).to(device))
        count = len(indices)
        if recipe.train.horizontal_flip:
            flip = torch.rand(count, 1, 1, 1, generator=generator, device=device) < 0.5
            x0 = torch.where(flip, x0.flip(-1), x0)
        labels = self._draw_labels(indices)
        timesteps = torch.randint(self._schedule.num_timesteps, (count,), generator=generator, device=device)
        noise = torch.empty_like(x0).normal_(generator=generator)
        rates = self._schedule.rates(timesteps)
        x_t = objective.diffuse(x0, noise, *rates).contiguous(memory_format=torch.channels_last)
        kind: NoiseLevel = network.noise_level  # type: ignore[assignment]
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus), autocast(device, recipe.train.precision):
            torch.manual_seed(int(seed))  # dropout draws from the global generators
            answer = network(x_t, noise_level(kind, self._schedule, timesteps), labels)
        wanted = objective.target(recipe.diffusion.prediction, x0, noise, *rates)
        return objective.loss(recipe.diffusion.loss, answer, wanted)

    def _draw_labels(self, indices: NDArray[np.int64]) -> Tensor | None:
        conditioning = self._recipe.conditioning
        if not isinstance(conditioning, ClassLabel):
            return None
        labels = torch.from_numpy(self._labels[indices]).to(self._device)
        dropped = torch.rand(len(labels), generator=self._generator, device=self._device) < conditioning.dropout
        return torch.where(dropped, conditioning.num_classes, labels)


def paint_grid(painter: Painter, statistics: Statistics) -> NDArray[np.uint8]:
    """A sheet of pictures from the same noise every time, so that progress can be followed."""
    labels = None
    if num_classes(painter.recipe):
        present = np.flatnonzero(statistics["class_counts"])
        labels = present[np.arange(GRID_PICTURES) * len(present) // GRID_PICTURES].tolist()
    steps = min(GRID_SAMPLER.num_steps, painter.recipe.diffusion.schedule.num_timesteps)
    x = painter.draw(
        GRID_SAMPLER.model_copy(update={"num_steps": steps}),
        seed=painter.recipe.train.seed,
        numbers=list(range(GRID_PICTURES)),
        labels=labels,
        guidance_scale=1.0,
        clip_x0=True,
        precision=painter.recipe.train.precision,
    )
    return pages.grid(painter.standardisation.decode(x))


def _write_model(model: Path, state: TrainState, recipe: TrainingRecipe, dataset: Path, grids: Path) -> None:
    for name, network in ((Model.weights, state.network), (Model.ema_weights, state.averaged.network)):
        save_file({key: value.contiguous().cpu() for key, value in network.state_dict().items()}, model / name)
    write_text(model / Model.recipe, recipe.model_dump_json(indent=2) + "\n")
    write_json(model / Model.statistics, read_json(dataset / Dataset.statistics, made_by="preprocess"))
    with (model / Model.history).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(HistoryRow)])
        writer.writerows([vars(row).values() for row in state.history])
    shutil.copytree(grids, model / Model.grids, ignore=shutil.ignore_patterns("*.partial"))
