"""A recipe as texts for the tasks of a pipeline, each with no more than what decides the task's result.

An engine's cache compares the texts. So a task whose sections did not change is not repeated because another section, a
comment or the layout of the file did.
"""

import tomllib
from collections.abc import Container
from typing import Any, TypeVar

import tomlkit
from pydantic import ValidationError

from linnet.recipe.data import DataSection
from linnet.recipe.load import RecipeError
from linnet.recipe.recipe import NamedTrainingRecipe, Recipe
from linnet.recipe.section import Section

S = TypeVar("S", bound=Section)


class _Data(Section):
    data: DataSection


def recipe_text(recipe: Recipe) -> str:
    """The whole recipe (TOML), the same for all files that mean the same."""
    return _text(recipe, Recipe.model_fields)


def training_text(recipe: Recipe) -> str:
    """What training depends on: a name, and the sections that decide what the model is."""
    return _text(recipe, NamedTrainingRecipe.model_fields)


def data_text(recipe: Recipe) -> str:
    """What ingest and preprocess depend on: [data]."""
    return _text(recipe, _Data.model_fields)


def parse_training(text: str) -> NamedTrainingRecipe:
    """What `training_text` wrote. Raises RecipeError."""
    return _parsed(NamedTrainingRecipe, text)


def parse_data(text: str) -> DataSection:
    """The section that `data_text` wrote. Raises RecipeError."""
    return _parsed(_Data, text).data


def _text(recipe: Recipe, fields: Container[str]) -> str:
    """Keys in the schema's order, tables after values, as TOML wants them."""
    values = {
        field.alias or name: getattr(recipe, name) for name, field in Recipe.model_fields.items() if name in fields
    }
    plain = {
        key: value.model_dump(mode="json", by_alias=True) if isinstance(value, Section) else value
        for key, value in values.items()
    }
    return tomlkit.dumps(dict(sorted(plain.items(), key=lambda item: isinstance(item[1], dict))))


def _parsed(schema: type[S], text: str) -> S:
    try:
        values: dict[str, Any] = tomllib.loads(text)
        return schema.model_validate(values)
    except (ValidationError, ValueError) as reason:
        raise RecipeError(
            f"the recipe's sections are not those of this version of linnet ({str(reason).splitlines()[0]}); start the "
            "run again"
        ) from None
