"""What a run was asked to train: the name of a recipe, an address of one, or its text, and changes to it."""

import re
import shlex
import tempfile
from pathlib import Path

from linnet import storage
from linnet.recipe import Recipe
from linnet.recipe.load import RecipeError, load_recipe, parse_recipe

FOLDER = Path("recipes")  # of the working folder, which in the image holds the project's recipes
NAME = r"[a-z0-9][a-z0-9_-]*"


def requested_recipe(recipe: str, overrides: str) -> Recipe:
    """The recipe that a run trains.

    Args:
        recipe: a name (`birds-demo`, one of the image's), an address (`s3://BUCKET/FILE.toml`), or a text (TOML).
        overrides: `train.seed=1 train.batch_size=64`, with TOML values; one with a space in it is put into quotes.

    Raises:
        RecipeError: it is none of these, or has a mistake.
        StorageError: the address does not answer, or holds nothing.
    """
    changes, given = split_overrides(overrides), recipe.strip()
    if not given:
        raise RecipeError(f"the recipe is empty; give {_choices()}")
    if re.fullmatch(rf"(recipes/)?{NAME}(\.toml)?", given):
        return _named(given.removeprefix("recipes/").removesuffix(".toml"), changes)
    if storage.is_s3_url(given):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "recipe.toml"
            storage.download_file(given, path)
            return parse_recipe(path.read_text(encoding="utf-8"), where=given, overrides=changes)
    if "\n" not in given:
        raise RecipeError(
            "the recipe is one line: the form of the Kubeflow page takes the line ends out of a text, so its first "
            f"comment swallows the rest. Give {_choices()}, or `make submit RECIPE=file.toml`, which sends a text whole"
        )
    return parse_recipe(recipe, where="the recipe", overrides=changes)


def _named(name: str, changes: list[str]) -> Recipe:
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        raise RecipeError(f"there is no recipe {name!r} in this image; give {_choices()}")
    return load_recipe(path, changes)


def _choices() -> str:
    names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml"))) or "none in this image"
    return f"the name of a recipe ({names}), or the address of one (s3://BUCKET/FILE.toml)"


def split_overrides(overrides: str) -> list[str]:
    """The changes in a text of them, separated by spaces. Raises RecipeError: a quote is left open."""
    try:
        return shlex.split(overrides)
    except ValueError as reason:
        raise RecipeError(
            f"overrides {overrides!r}: {str(reason).lower()}; separate them by spaces, as in 'train.seed=1 "
            "train.batch_size=64', and put one with a space or quotes in it into single quotes"
        ) from None
