"""Strict TOML files beside the recipes: schedules, sweeps, profiles of clusters. Mistakes are named as in recipes."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from linnet.recipe import Section
from linnet.recipe.load import RecipeError, explain_mistakes

S = TypeVar("S", bound=Section)


def read_toml(path: Path, schema: type[S], *, error: type[RecipeError], hint: str, what: str) -> S:
    """The file at `path`, checked against `schema`.

    Args:
        path: A TOML file.
        schema: What it may hold.
        error: What to raise.
        hint: What to do where the file cannot be read.
        what: What the file is called in messages.

    Raises:
        RecipeError: of the type `error`, naming every mistake in a line of its own.
    """
    try:
        return schema.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); {hint}") from None
    except ValidationError as mistakes:
        lines = explain_mistakes(mistakes, schema, what=what)
        raise error("\n".join(f"{path}: {line}" for line in lines)) from None
    except ValueError as reason:
        raise error(f"{path}: is not valid TOML: {reason}") from None


def literal(value: Any, between: str) -> str:
    """JSON with bare keys and `between` after them: " = " makes it a value of TOML, ":" one of `dvc exp run -S`."""
    return re.sub(r'"(\w+)": ', rf"\1{between}", json.dumps(value, ensure_ascii=False))
