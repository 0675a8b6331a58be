"""What people ask beyond the pipeline, as commands: each parses, and calls its module in linnet.commands."""

import json
from pathlib import Path
from typing import Annotated

import typer

from linnet.cli.options import (
    BUILD,
    WORK,
    BatchSize,
    Build,
    Device,
    Overrides,
    RecipePath,
    Track,
    Work,
    open_recipe,
    pick_device,
)
from linnet.progress import log
from linnet.recipe.load import RecipeError, load_recipe


def check(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipes to read.")],
    server: Annotated[
        bool,
        typer.Option("--server", help="Also ask MLflow (MLFLOW_TRACKING_URI) whether it will take runs and models."),
    ] = False,
) -> None:
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
    if server:
        from linnet.tracking.client import check_server

        check_server(outlives_pods=False)
        log("MLflow: good")


def describe(
    recipe: RecipePath,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    device: Device = "auto",
) -> None:
    """Say what a recipe is and what it will cost on this machine, by building it and timing a few steps."""
    from linnet.commands import describe as command

    loaded, _ = open_recipe(recipe, overrides, BUILD)
    description = command.run(loaded, device=pick_device(device))
    print(json.dumps(description.as_json(), indent=2) if as_json else description.as_text())


def generate(
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
    out: Annotated[
        Path | None, typer.Option(help="Folder for the samples. Left out: BUILD/<recipe>/generated.")
    ] = None,
    build: Build = BUILD,
    device: Device = "auto",
    batch_size: BatchSize = 64,
) -> None:
    """Generate what you ask for: `linnet generate RECIPE "a slow melody on a bell" --seconds 6`."""
    from linnet.commands import generate as command

    loaded, folder = open_recipe(recipe, None, build)
    command.run(
        loaded.sample,
        command.GenerateOptions(tuple(prompts or ()), count, seed, steps, guidance, seconds),
        model=folder / "model",
        out=out or folder / "generated",
        device=pick_device(device),
        batch_size=batch_size,
    )


def repair(
    recipe: RecipePath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The degraded recording or image.")],
    degradation: Annotated[
        str,
        typer.Option(
            help="The name of a degradation of the recipe's \\[restore], or one of your own, such as "
            "\"{kind='bandwidth_extension', cutoff_hz=4000.0}\"."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the result. Left out: BUILD/<recipe>/repaired/<FILE's name without its ending>, or one "
            "beside it where the result of another request is there."
        ),
    ] = None,
    impulse_response: Annotated[
        Path | None, typer.Option(help="For known_reverb: a recording of the room's response to a click.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="For inpaint_pixels: an image, white where pixels are missing.")
    ] = None,
    overrides: Overrides = None,
    build: Build = BUILD,
    device: Device = "auto",
) -> None:
    """Restore a recording or image of your own, of any length or size, with the trained model as prior."""
    from linnet.commands import repair as command
    from linnet.inference.degradations import RestorationInput
    from linnet.recipe.load import parse_degradation

    loaded, folder = open_recipe(recipe, overrides, build)
    command.run(
        loaded.restore,
        parse_degradation(degradation, loaded),
        RestorationInput(file, impulse_response, mask),
        model=folder / "model",
        out=out,
        device=pick_device(device),
    )


def to_caltech(
    images: Annotated[
        Path,
        typer.Argument(metavar="IMAGES", help="A folder with a folder of pictures for each class, or with pictures."),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The new folder, for `linnet ingest RECIPE --source OUT`.")
    ],
) -> None:
    """Write the Caltech layout from a folder of class folders: copies of the readable pictures, and the five tables.

    Folders called train, val, test and the like on top of the class folders become the official split. Files that are
    no whole pictures are left out, counted, and listed in OUT/left_out.csv.
    """
    from linnet.data.layouts import class_folders

    class_folders.to_caltech(images, out)


def report(recipe: RecipePath, overrides: Overrides = None, build: Build = BUILD, track: Track = True) -> None:
    """Render the pages about all results that are there, into BUILD/<recipe>/pages; nothing is computed again."""
    from linnet.commands import report as command

    loaded, folder = open_recipe(recipe, overrides, build)
    command.run(loaded, folder=folder, track=track)


def results(
    folders: Annotated[list[Path], typer.Argument(metavar="BUILD/RECIPE...", help="Result folders, such as build/*.")],
) -> None:
    """Say what was made: scores, the registered version, and where to look."""
    from linnet.commands import results as command

    for folder in folders:
        for line in command.run(folder):
            print(line)


def promote(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The registered model, such as linnet-birds-demo.")],
    version: Annotated[int | None, typer.Option(min=1, help="Make this version the champion.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays with both versions.")] = "",
) -> None:
    """List the versions of a registered model, or make one the champion by hand: a rollback."""
    from linnet.commands import promote as command

    if version is not None:
        command.run(model, version, reason)
    for row in command.list_versions(model):
        print(f"{model} version {row.number:<3} {row.alias:<10} {row.score:<28} {row.reason}")


def clean(
    work: Work = WORK,
    remove: Annotated[bool, typer.Option("--remove", help="Delete what is listed; what a run uses stays.")] = False,
    older_than: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Only what nothing has changed for so many days.")
    ] = 0.0,
) -> None:
    """List the checkpoints and downloads of stopped commands, with size and age; --remove deletes them.

    A command that is repeated goes on with them; finished ones have removed their own. Results are never touched.
    """
    from linnet.commands import clean as command

    for line in command.run(work, remove=remove, older_than_days=older_than):
        print(line)


def ui(
    build: Build = BUILD,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is served.")] = 8501,
) -> None:
    """Open a page to generate with the trained models of BUILD and of the registry, in a browser."""
    from linnet.commands import ui as command

    command.run(build=build, port=port)
