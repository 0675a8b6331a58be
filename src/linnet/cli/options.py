"""The arguments and options that commands share, and what they stand for."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.errors import LinnetError
from linnet.recipe import Recipe
from linnet.recipe.load import load_recipe

if TYPE_CHECKING:
    import torch

BUILD, WORK, DATA = Path("build"), Path(".work"), Path("data")

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


class ResultsElsewhereError(LinnetError):
    """DVC would not take the result."""


def open_recipe(path: Path, overrides: list[str] | None, build: Path) -> tuple[Recipe, Path]:
    """The recipe, and the folder BUILD/<recipe> of its results. Raises RecipeError, ResultsElsewhereError."""
    recipe = load_recipe(path, overrides or ())
    folder = build / recipe.name
    _require_that_dvc_takes(folder)
    return recipe, folder


def _require_that_dvc_takes(folder: Path) -> None:
    """Where DVC runs this command in a git repository, it refuses results behind a link, when they are finished."""
    if not (os.environ.get("DVC_STAGE") and os.environ.get("DVC_ROOT")):
        return
    real, root = folder.resolve(), Path(os.environ["DVC_ROOT"]).resolve()
    in_git = any((parent / ".git").exists() for parent in (root, *root.parents))
    if in_git and not real.is_relative_to(root):
        link = next((path for path in (folder.parent, folder) if path.is_symlink()), folder)
        disk = link.resolve()
        raise ResultsElsewhereError(
            f"{link} leads to {disk}, and DVC takes no results there. Let DVC keep the bytes on that disk "
            f"instead: replace the link by a folder, then `dvc config --local cache.dir {disk}/dvc-cache` and "
            "`dvc config --local cache.type symlink`, and repeat"
        )


def pick_device(name: str) -> "torch.device":
    """The device of `--device`; importing torch takes seconds, so only commands that compute do it."""
    from linnet.models.device import pick_device

    return pick_device(name)
