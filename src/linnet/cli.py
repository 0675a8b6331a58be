"""The one way in. Each command is one stage call; heavy libraries are imported only by the command that needs them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.errors import LinnetError, Stopped, explain
from linnet.progress import say
from linnet.recipe_file import RecipeError, load_recipe

if TYPE_CHECKING:
    import torch

app = typer.Typer(
    help="Train diffusion models on your own pictures: ingest, preprocess, train, sample, evaluate, register.\n\n"
    "A recipe (TOML) says what to make; options say where. Every command can be stopped and repeated.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, such as recipes/birds-demo.toml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one recipe value, such as train.batch_size=64; repeatable."
    ),
]
Build = Annotated[Path, typer.Option(help="Where results go: BUILD/<recipe>/<stage's folder>.")]
Work = Annotated[Path, typer.Option(help="Where unfinished work waits (checkpoints, downloads); no result lies there.")]
Data = Annotated[Path, typer.Option(help="Where raw data lies: DATA/<data.folder of the recipe>.")]
Source = Annotated[
    str | None,
    typer.Option(
        help="synthetic (drawn here), caltech (downloaded, 1.1 GB), the path of an archive or folder, "
        "s3://BUCKET/ARCHIVE, s3://BUCKET/FOLDER/, or dvc:REPOSITORY@REVISION (its data/<folder>). Left out: what "
        "is there already, or else synthetic."
    ),
]
Device = Annotated[str, typer.Option(help="auto (the GPU where there is one), cpu or cuda.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures drawn at once: changes speed, memory and rounding.")]
InceptionWeights = Annotated[
    Path | None, typer.Option(envvar="LINNET_INCEPTION_WEIGHTS", help="File with Inception's 2015 weights.")
]
Track = Annotated[bool, typer.Option(help="Log to MLflow (MLFLOW_TRACKING_URI, or mlflow.db in this folder).")]

NOTHING_CHANGED = 3  # the exit status of `linnet retrain --dry-run`
INTERRUPTED = 130  # the exit status after Ctrl-C
BUILD, WORK, DATA = Path("build"), Path(".work"), Path("data")


class NoReasonError(LinnetError):
    """Something was moved by hand, without a word."""


@app.command()
def check(recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes to read.")]) -> None:
    """Read recipes and say what is wrong with them, before anything is spent. Exit status 2 if something is."""
    mistakes = []
    for path in recipes:
        try:
            load_recipe(path)
            say(f"{path}: good")
        except RecipeError as error:
            mistakes.append(str(error))
    if mistakes:
        raise RecipeError("\n".join(mistakes))


@app.command()
def describe(
    recipe: RecipePath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    device: Device = "auto",
) -> None:
    """Say what a recipe is and what it will cost on this machine, by building it and timing a few steps."""
    from linnet.stages import describe as stage

    loaded = load_recipe(recipe, overrides or ())
    description = stage.run(loaded, device=_device(device))
    print(json.dumps(description.as_json(), indent=2) if as_json else description.as_text())


@app.command()
def ingest(
    recipe: RecipePath,
    source: Source = None,
    overrides: Overrides = None,
    data: Data = DATA,
    work: Work = WORK,
) -> None:
    """Bring raw data into DATA/<folder>: verified, safely unpacked, complete or not at all."""
    from linnet.stages import ingest as stage

    section = load_recipe(recipe, overrides or ()).data
    stage.run(section, source=source, out=data / section.folder, work=work / "downloads")


@app.command()
def preprocess(
    recipe: RecipePath,
    overrides: Overrides = None,
    data: Data = DATA,
    build: Build = BUILD,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures; 0 uses all cores.")] = 0,
) -> None:
    """Crop, resize and split pictures into training arrays, with statistics and a page to look at."""
    from linnet.stages import preprocess as stage

    loaded = load_recipe(recipe, overrides or ())
    stage.run(
        loaded.data,
        raw=data / loaded.data.folder,
        out=build / loaded.name / "dataset",
        workers=workers or stage.usable_cores(),
    )


@app.command()
def train(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    work: Work = WORK,
    device: Device = "auto",
    processes: Annotated[int, typer.Option(min=0, help="Processes that share each batch; 0: one for each GPU.")] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
    track: Track = True,
) -> None:
    """Train the model; repeated after a stop it goes on from the newest checkpoint, to the same result."""
    from linnet.tasks import training

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    training.on_this_machine(
        loaded,
        dataset=folder / "dataset",
        out=folder / "model",
        work=str(work),
        device=_device(device),
        processes=processes,
        checkpoint_every_seconds=checkpoint_seconds,
        track=track,
    )


@app.command()
def train_shared(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="An s3:// address or a folder that all nodes see.")],
) -> None:
    """Train what lies in PLACE (recipe.json, dataset/) and leave model/ there; torchrun starts it on every node.

    A Kubeflow TrainJob runs it, and `srun torchrun --nnodes=4 ... -m linnet train-shared PLACE` does on Slurm.
    """
    from linnet.tasks import training

    training.in_shared_place(place)


@app.command()
def sample(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
) -> None:
    """Draw pictures from the trained model: single files, a grid, and how noise becomes a picture."""
    from linnet.stages import sample as stage

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(loaded, model=folder / "model", out=folder / "samples", device=_device(device), batch_size=batch_size)


@app.command()
def evaluate(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    inception_weights: InceptionWeights = None,
    inception_sha256: Annotated[
        str | None, typer.Option(help="What that file must hash to, if not the published.")
    ] = None,
    track: Track = True,
) -> None:
    """Measure how far the samples are from held-out real pictures; metrics.json and a page to look at."""
    from linnet.stages import evaluate as stage

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(
        loaded,
        dataset=folder / "dataset",
        model=folder / "model",
        samples=folder / "samples",
        out=folder / "report",
        device=_device(device),
        inception_weights=inception_weights,
        inception_sha256=inception_sha256,
        batch_size=batch_size,
        track_run=track,
    )


@app.command()
def register(recipe: RecipePath, overrides: Overrides = None, build: Build = BUILD) -> None:
    """Make the model a version in the MLflow registry; the recipe's gate decides whether it becomes champion."""
    from linnet.stages import register as stage

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(loaded, model=folder / "model", report=folder / "report", out=folder / "registration")


@app.command()
def retrain(
    recipe: RecipePath,
    source: Source = None,
    overrides: Overrides = None,
    data: Data = DATA,
    build: Build = BUILD,
    work: Work = WORK,
    device: Device = "auto",
    inception_weights: InceptionWeights = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only ingest and compare; exit status 3 if nothing changed.")
    ] = False,
) -> None:
    """Train again, ingest to register, if data, recipe or code are not those of the champion or newest challenger.

    For cron and CI: it says what changed, or that nothing did, and then stops early.
    """
    from linnet.tasks import retraining

    changed = retraining.run(
        load_recipe(recipe, overrides or ()),
        source=source,
        data=data,
        build=build,
        work=work,
        device=_device(device),
        inception_weights=inception_weights,
        only_look=dry_run,
    )
    if dry_run and not changed:
        raise typer.Exit(NOTHING_CHANGED)


@app.command()
def champion(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The registered model, such as linnet-birds-demo.")],
    version: Annotated[int | None, typer.Option(min=1, help="Make this version the champion.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays with both versions.")] = "",
) -> None:
    """List the versions of a registered model, or move the champion by hand: a rollback."""
    from linnet.stages import champion as stage

    if version is not None:
        if not reason:
            raise NoReasonError("--version needs --reason: those who come after you will want to know why")
        stage.move(model, version, reason)
    for row in stage.versions(model):
        print(f"{model} version {row.number:<3} {row.alias:<10} {row.score:<28} {row.reason}")


@app.command()
def results(
    folders: Annotated[list[Path], typer.Argument(metavar="BUILD/RECIPE...", help="Result folders, such as build/*.")],
) -> None:
    """Say what was made: scores, the registered version, and where to look."""
    from linnet.artifacts import Registration, Report, Samples
    from linnet.files import read_json

    for folder in folders:
        if not (folder / "registration" / Registration.result).is_file():
            print(f"{folder.name}: not finished, no {folder / 'registration'} yet")
            continue
        metrics = read_json(folder / "report" / Report.metrics, made_by="evaluate")
        entry = read_json(folder / "registration" / Registration.result, made_by="register")
        title = "champion" if entry["promoted"] else "challenger"
        print(f"{folder.name}: {entry['model_name']} version {entry['version']} is {title}: {entry['reason']}")
        for name, score in metrics["scores"].items():
            noise, untrained = metrics["context"][name]["noise"], metrics["context"][name]["untrained"]
            print(f"  {name:<20} {score:.4g}   (pure noise {noise:.4g}, untrained network {untrained:.4g})")
        print(f"  pictures  {folder / 'samples' / Samples.grid}")
        print(f"  report    {folder / 'report' / Report.page}")
        print(f"  model     models:/{entry['model_name']}@{title}")


def _device(name: str) -> "torch.device":
    from linnet.stages.wiring import pick_device

    return pick_device(name)


def main() -> None:
    """Run a command; mistakes and interruptions become one message and an exit status."""
    status = 0
    try:
        app()
    except SystemExit as done:  # typer's way out, for good and for bad
        if done.code == INTERRUPTED:
            _complain("interrupted; repeat the command to go on")
        raise
    except (LinnetError, OSError, Stopped) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        _complain(sentence)
        status = _status(error)
    sys.exit(status)


def _status(error: Exception) -> int:
    if isinstance(error, Stopped):
        return 128 + error.signal_number
    return 2 if isinstance(error, RecipeError) else 1


def _complain(message: object) -> None:
    for line in str(message).splitlines():
        say(f"linnet: {line}")
