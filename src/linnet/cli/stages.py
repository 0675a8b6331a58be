"""The stages as commands: each is one call of its stage, and a page about the result."""

from typing import Annotated

import typer

from linnet.cli.options import (
    BUILD,
    DATA,
    WORK,
    BatchSize,
    Build,
    Data,
    Device,
    EmbeddingHash,
    EmbeddingWeights,
    InceptionHash,
    InceptionWeights,
    Overrides,
    RecipePath,
    Source,
    Track,
    Work,
    open_recipe,
    pick_device,
)
from linnet.commands import report
from linnet.files import path_lock

NOTHING_CHANGED = 3  # the exit status of `linnet retrain --dry-run`


def ingest(
    recipe: RecipePath, source: Source = None, overrides: Overrides = None, data: Data = DATA, work: Work = WORK
) -> None:
    """Bring raw data into DATA/<folder>: verified, safely unpacked, complete or not at all."""
    from linnet.stages import ingest as stage

    loaded, _ = open_recipe(recipe, overrides, BUILD)
    stage.run(loaded.data, source=source, out=data / loaded.data.folder, work=work / "downloads")


def preprocess(
    recipe: RecipePath,
    overrides: Overrides = None,
    data: Data = DATA,
    build: Build = BUILD,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read files; 0 uses all cores.")] = 0,
) -> None:
    """Turn images or recordings into training arrays, with statistics and a page to look at or listen to."""
    from linnet.stages import preprocess as stage

    loaded, folder = open_recipe(recipe, overrides, build)
    raw, workers = data / loaded.data.folder, workers or stage.usable_cores()
    stage.run(loaded.data, raw=raw, out=folder / "dataset", workers=workers)
    report.run(loaded, folder=folder, pages=["dataset"])


def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    work: Work = WORK,
    device: Device = "auto",
    processes: Annotated[
        int,
        typer.Option(min=0, help="Processes that share each batch; 0: one for each GPU, or for each core of a CPU."),
    ] = 0,
    passes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Passes through the network in a step, each over a part of the batch: less memory, and only "
            "rounding differs.",
        ),
    ] = 1,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="On a GPU: only kernels that give the same bits again; slower."),
    ] = False,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
    track: Track = True,
) -> None:
    """Train the model; repeated after a stop it goes on from the newest checkpoint, to the same result."""
    from linnet.tasks import training

    loaded, folder = open_recipe(recipe, overrides, build)
    training.on_this_machine(
        loaded,
        dataset=folder / "dataset",
        out=folder / "model",
        work=str(work),
        device=pick_device(device),
        processes=processes,
        passes=passes,
        deterministic=deterministic,
        checkpoint_every_seconds=checkpoint_seconds,
        track=track,
    )
    report.run(loaded, folder=folder, pages=["training"])


def train_shared(
    location: Annotated[
        str, typer.Argument(metavar="LOCATION", help="An s3:// address or a folder that all nodes share.")
    ],
) -> None:
    """Train the recipe.json and dataset/ in LOCATION and leave model/ there; torchrun runs this on every node.

    On Slurm `srun torchrun --nnodes=4 ... -m linnet train-shared LOCATION` does; a TrainJob runs `train-node`.
    """
    from linnet.tasks import nodes

    nodes.in_shared_location(location)


def train_node(
    location: Annotated[
        str, typer.Argument(metavar="LOCATION", help="An s3:// address or a folder that all nodes share.")
    ],
    gpus: Annotated[int, typer.Option(help="GPUs that this node must have.")] = 0,
    stop_seconds: Annotated[float, typer.Option(help="Time for the last checkpoint after SIGTERM.")] = 30.0,
) -> None:
    """The same as the first process of a pod of a Kubeflow TrainJob, which starts the training processes of its node.

    Its exit status is 64 for an error that another attempt would meet again.
    """
    from linnet.tasks import nodes

    nodes.train_node(location, gpus=gpus, stop_seconds=stop_seconds)


def sample(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
) -> None:
    """Generate with the trained model: samples, single files (PNG, FLAC), a page, and how noise becomes an example."""
    from linnet.stages import sample as stage

    loaded, folder = open_recipe(recipe, overrides, build)
    model, out = folder / "model", folder / "samples"
    stage.run(loaded, model=model, out=out, device=pick_device(device), batch_size=batch_size)
    report.run(loaded, folder=folder, pages=["samples"])


def restore(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
) -> None:
    """Degrade held-out examples as the recipe says and restore them with the trained model; a page to compare."""
    from linnet.stages import restore as stage

    loaded, folder = open_recipe(recipe, overrides, build)
    stage.run(
        loaded,
        dataset=folder / "dataset",
        model=folder / "model",
        out=folder / "restored",
        device=pick_device(device),
        batch_size=batch_size,
    )
    report.run(loaded, folder=folder, pages=["restorations"])


def evaluate(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    inception_weights: InceptionWeights = None,
    inception_sha256: InceptionHash = None,
    embedding_weights: EmbeddingWeights = None,
    embedding_sha256: EmbeddingHash = None,
    track: Track = True,
) -> None:
    """Measure how far the samples are from held-out real examples; metrics.json and a page to look at."""
    from linnet.stages import evaluate as stage

    loaded, folder = open_recipe(recipe, overrides, build)
    is_audio = loaded.data.kind == "audio"
    stage.run(
        loaded,
        dataset=folder / "dataset",
        model=folder / "model",
        samples=folder / "samples",
        restored=folder / "restored",
        out=folder / "report",
        device=pick_device(device),
        feature_weights=embedding_weights if is_audio else inception_weights,
        feature_sha256=embedding_sha256 if is_audio else inception_sha256,
        batch_size=batch_size,
        track_run=track,
    )
    report.run(loaded, folder=folder, pages=["evaluation"], track=track)


def register(recipe: RecipePath, overrides: Overrides = None, build: Build = BUILD) -> None:
    """Make the model a version in the MLflow registry; the recipe's gate decides whether it becomes champion."""
    from linnet.stages import register as stage

    loaded, folder = open_recipe(recipe, overrides, build)
    out = folder / "registration"
    with path_lock(out):  # the second of two commands finds the version of the first
        stage.run(loaded, model=folder / "model", report=folder / "report", out=out)


def retrain(
    recipe: RecipePath,
    source: Source = None,
    overrides: Overrides = None,
    data: Data = DATA,
    build: Build = BUILD,
    work: Work = WORK,
    device: Device = "auto",
    inception_weights: InceptionWeights = None,
    inception_sha256: InceptionHash = None,
    embedding_weights: EmbeddingWeights = None,
    embedding_sha256: EmbeddingHash = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only ingest and compare; exit status 3 if nothing changed.")
    ] = False,
) -> None:
    """Train again, ingest to register, unless data, recipe and code are those of a version already in the registry.

    For cron and CI: it says what changed, or that nothing did, and then stops early.
    """
    from linnet.tasks import retraining

    loaded, folder = open_recipe(recipe, overrides, build)
    is_audio = loaded.data.kind == "audio"
    changed = retraining.run(
        loaded,
        source=source,
        data=data,
        build=build,
        work=work,
        device=pick_device(device),
        feature_weights=embedding_weights if is_audio else inception_weights,
        feature_sha256=embedding_sha256 if is_audio else inception_sha256,
        dry_run=dry_run,
    )
    if changed and not dry_run:
        report.run(loaded, folder=folder, track=True)
    if dry_run and not changed:
        raise typer.Exit(NOTHING_CHANGED)
