"""The one way in. Each command is one stage call; heavy libraries are imported only by the command that needs them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.errors import LinnetError, Stopped, explain
from linnet.progress import log
from linnet.recipe.load import RecipeError, load_recipe

if TYPE_CHECKING:
    import torch

app = typer.Typer(
    help="Train diffusion models on your own images and recordings: ingest, preprocess, train, sample, restore, "
    "evaluate, register.\n\n"
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
        help="synthetic (made here), caltech (birds, 1.1 GB), hf:OWNER/NAME@REVISION (audio from Hugging Face), the "
        "path of an archive or folder, s3://BUCKET/ARCHIVE, s3://BUCKET/FOLDER/, or dvc:REPOSITORY@REVISION (its "
        "data/<folder>). Left out: what is there already, or else synthetic."
    ),
]
Device = Annotated[str, typer.Option(help="auto (the GPU where there is one), cpu or cuda.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Examples made at once: changes speed, memory and rounding.")]
InceptionWeights = Annotated[
    Path | None, typer.Option(envvar="LINNET_INCEPTION_WEIGHTS", help="File with Inception's 2015 weights.")
]
EmbeddingWeights = Annotated[
    Path | None,
    typer.Option(envvar="LINNET_EMBEDDING_WEIGHTS", help="File with the audio embedding of \\[evaluate] features."),
]
InceptionHash = Annotated[
    str | None,
    typer.Option(envvar="LINNET_INCEPTION_SHA256", help="What that file must hash to, if not the published."),
]
EmbeddingHash = Annotated[
    str | None,
    typer.Option(envvar="LINNET_EMBEDDING_SHA256", help="What that file must hash to, if not the published."),
]
Track = Annotated[bool, typer.Option(help="Log to MLflow (MLFLOW_TRACKING_URI, or mlflow.db in this folder).")]

NOTHING_CHANGED = 3  # the exit status of `linnet retrain --dry-run`
INTERRUPTED = 130  # the exit status after Ctrl-C
BUILD, WORK, DATA = Path("build"), Path(".work"), Path("data")


class NoReasonError(LinnetError):
    """Something was moved by hand, without a word."""


class NoStreamlitError(LinnetError):
    """The page cannot be served."""


@app.command()
def check(recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes to read.")]) -> None:
    """Read recipes and say what is wrong with them, before anything is spent. Exit status 2 if something is."""
    mistakes = []
    for path in recipes:
        try:
            load_recipe(path)
            log(f"{path}: good")
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
    from linnet.commands import describe as stage

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
    workers: Annotated[int, typer.Option(min=0, help="Processes that read files; 0 uses all cores.")] = 0,
) -> None:
    """Turn images or recordings into training arrays, with statistics and a page to look at or listen to."""
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
    """Draw from the trained model: single files (PNG, FLAC), a page, and how noise becomes an example."""
    from linnet.stages import sample as stage

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(loaded, model=folder / "model", out=folder / "samples", device=_device(device), batch_size=batch_size)


@app.command()
def restore(
    recipe: RecipePath,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 16,
) -> None:
    """Damage held-out examples as the recipe says and bring them back with the trained model; a page to compare."""
    from linnet.stages import restore as stage

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(
        loaded,
        dataset=folder / "dataset",
        model=folder / "model",
        out=folder / "restored",
        device=_device(device),
        batch_size=batch_size,
    )


@app.command()
def repair(
    recipe: RecipePath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The damaged recording or image.")],
    task: Annotated[
        str,
        typer.Option(
            help="The name of a task of the recipe's \\[restore], or one of your own, such as "
            "\"{kind='bandwidth_extension', cutoff_hz=4000.0}\"."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the result. Left out: BUILD/<recipe>/repaired/<FILE's name without its ending>."),
    ] = None,
    impulse_response: Annotated[
        Path | None, typer.Option(help="For known_reverb: a recording of the room's answer to a click.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="For inpaint_pixels: an image, white where pixels are missing.")
    ] = None,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
) -> None:
    """Restore a recording or image of your own, of any length or size, with the trained model as prior."""
    from linnet.commands import repair as stage
    from linnet.recipe.load import parse_task

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(
        loaded.restore,
        parse_task(task, loaded),
        stage.Given(file, impulse_response, mask),
        model=folder / "model",
        out=out or folder / "repaired" / file.stem,
        device=_device(device),
    )


@app.command()
def draw(
    recipe: RecipePath,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT...", help="Words, labels with commas or bars between, or a class: as the model was trained."
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Samples for each prompt.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal samples.")] = 0,
    guidance: Annotated[float | None, typer.Option(min=0, help="Classifier-free guidance scale; 1: none.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.01, help="Length of audio: up to 600, or the recipe's own if that is longer.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the samples. Left out: BUILD/<recipe>/drawn.")] = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
) -> None:
    """Draw what you ask for from the trained model: `linnet draw RECIPE "a slow melody on a bell" --seconds 6`."""
    from linnet.commands import generate as stage

    loaded = load_recipe(recipe, ())
    folder = build / loaded.name
    stage.run(
        loaded.sample,
        stage.Wish(seed, steps, guidance, seconds, prompts=tuple(prompts or ()), count=count),
        model=folder / "model",
        out=out or folder / "drawn",
        device=_device(device),
        batch_size=batch_size,
    )


@app.command()
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

    loaded = load_recipe(recipe, overrides or ())
    folder = build / loaded.name
    stage.run(
        loaded,
        dataset=folder / "dataset",
        model=folder / "model",
        samples=folder / "samples",
        restored=folder / "restored",
        out=folder / "report",
        device=_device(device),
        feature_weights=embedding_weights if loaded.data.kind == "audio" else inception_weights,
        feature_sha256=embedding_sha256 if loaded.data.kind == "audio" else inception_sha256,
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

    loaded = load_recipe(recipe, overrides or ())
    changed = retraining.run(
        loaded,
        source=source,
        data=data,
        build=build,
        work=work,
        device=_device(device),
        feature_weights=embedding_weights if loaded.data.kind == "audio" else inception_weights,
        feature_sha256=embedding_sha256 if loaded.data.kind == "audio" else inception_sha256,
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
    from linnet.commands import promote as stage

    if version is not None:
        if not reason:
            raise NoReasonError("--version needs --reason: those who come after you will want to know why")
        stage.move(model, version, reason)
    for row in stage.versions(model):
        print(f"{model} version {row.number:<3} {row.alias:<10} {row.score:<28} {row.reason}")


@app.command()
def ui(
    build: Build = BUILD,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is served.")] = 8501,
) -> None:
    """Open a page to draw from the trained models of BUILD and of the registry, in a browser."""
    import importlib.util
    import subprocess

    if importlib.util.find_spec("streamlit") is None:
        raise NoStreamlitError("linnet ui needs streamlit: install linnet with its extra 'ui' (`make setup` does)")
    script = Path(__file__).parent / "ui" / "app.py"
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    options += ["--server.fileWatcherType=none", "--client.toolbarMode=minimal", "--browser.gatherUsageStats=false"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options, "--", "--build", str(build)]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def results(
    folders: Annotated[list[Path], typer.Argument(metavar="BUILD/RECIPE...", help="Result folders, such as build/*.")],
) -> None:
    """Say what was made: scores, the registered version, and where to look."""
    from linnet.artifacts import Registration, Report, Samples
    from linnet.files import read_json

    for folder in folders:
        if not (folder / "dataset").is_dir():
            continue  # of a sweep, or of the pipeline run here: no results of a recipe
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
        for task, found in metrics["restoration"].items():
            for metric, values in found.items():
                print(
                    f"  {metric + ' ' + task:<20} {values['restored']:.4g}   (baseline {values['baseline']:.4g}, as "
                    f"observed {values['observed']:.4g})"
                )
        print(f"  samples   {folder / 'samples' / Samples.page}")
        print(f"  report    {folder / 'report' / Report.page}")
        print(f"  model     models:/{entry['model_name']}@{title}")


def _device(name: str) -> "torch.device":
    from linnet.inference.diffusion_model import pick_device

    return pick_device(name)


def main() -> None:
    """The command `linnet`."""
    run_command(app, if_interrupted="interrupted; repeat the command to go on")


def run_command(command: typer.Typer, arguments: Sequence[str] | None = None, *, if_interrupted: str = "") -> None:
    """Run a command line; mistakes and interruptions become one message, without a traceback, and an exit status."""
    try:
        command(arguments)
    except SystemExit as done:  # typer's way out, for good and for bad
        if done.code == INTERRUPTED and if_interrupted:
            log(f"linnet: {if_interrupted}")
        raise
    except (LinnetError, OSError, Stopped) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        for line in sentence.splitlines():
            log(f"linnet: {line}")
        is_mistake = isinstance(error, RecipeError)
        sys.exit(128 + error.signal_number if isinstance(error, Stopped) else 2 if is_mistake else 1)
