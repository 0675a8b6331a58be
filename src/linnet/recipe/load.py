"""Reading recipes: from a TOML file to the schema, with one line for people on every mistake."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomlkit
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from linnet.errors import LinnetError
from linnet.progress import log
from linnet.recipe import DegradationSection, Recipe, Section
from linnet.recipe.earlier import bring_up_to_date
from linnet.recipe.restore import FILE_DEFAULTS, degradation_classes

EXAMPLE_DEGRADATION = "{kind='denoise', noise_std=0.01}"

S = TypeVar("S", bound=Section)


class RecipeError(LinnetError):
    """A recipe cannot be used; the message names file, key, value and remedy."""

    exit_status = 2


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read `path`; `overrides` are `section.key=value` with TOML values, checked like the file itself.

    Raises:
        RecipeError: the file is missing, is not TOML or does not fit the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise RecipeError(
            f"{path}: cannot be read ({reason}); give the path of a recipe, such as recipes/birds.toml"
        ) from None
    recipe = parse_recipe(text, where=str(path), overrides=overrides)
    if recipe.name != path.stem:
        raise RecipeError(
            f"{path}: name = '{recipe.name}', but the file is called '{path.stem}'; two recipes with one name would "
            f'overwrite each other\'s results. Write name = "{path.stem}" or rename the file.'
        )
    return recipe


def read_toml(path: Path, schema: type[S], *, error: type[RecipeError], hint: str, what: str) -> S:
    """A strict TOML file that is no recipe: a schedule, a sweep, the profile of a cluster.

    Args:
        path: The file.
        schema: What it may hold.
        error: What to raise.
        hint: What to do if the file cannot be read.
        what: What the file is called in messages.

    Raises:
        RecipeError: of the type `error`, naming every mistake in a line of its own.
    """
    try:
        return schema.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); {hint}") from None
    except ValidationError as mistakes:
        lines = _explain(mistakes, schema, what=what)
        raise error("\n".join(f"{path}: {line}" for line in lines)) from None
    except ValueError as reason:
        raise error(f"{path}: is not valid TOML: {reason}") from None


def parse_recipe(text: str, *, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `text`; `where` names it in errors. Raises RecipeError."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as reason:
        raise RecipeError(f"{where}: is not valid TOML: {reason}") from None
    if lines := bring_up_to_date(values):
        log(f"{where}: written for an earlier linnet, and read as that meant: {'; '.join(lines)}. Write this into it")
    for override in overrides:
        _apply_override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{where}: {line}" for line in _explain(error))) from None


def parse_degradation(text: str, recipe: Recipe) -> DegradationSection:
    """What `linnet repair` is to undo: the name of a degradation of the recipe, or a TOML table of one.

    A table may leave out what is made up for held-out examples and what a file of one's own has: noise, a room,
    missing pixels.

    Raises:
        RecipeError: neither, or not for this kind of data.
    """
    if found := [known for known in recipe.restore.degradations if known.name == text.strip()]:
        return found[0]
    names = ", ".join(known.name for known in recipe.restore.degradations)
    values = _toml_value(text, option=f"--degradation {text!r}")
    if not isinstance(values, dict):
        raise RecipeError(
            f"--degradation {text!r}: no degradation of the recipe ({names}) and no TOML table, such as "
            f"{EXAMPLE_DEGRADATION}"
        )
    section = degradation_classes().get(str(values.get("kind")))
    values = {**FILE_DEFAULTS, **(section.file_defaults if section else {}), **values}
    try:
        degradation = TypeAdapter[DegradationSection](DegradationSection).validate_python(values)
        degradation.check_modality(recipe.data)
    except ValidationError as error:
        raise RecipeError("\n".join(f"--degradation: {_mistake(detail)}" for detail in error.errors())) from None
    except ValueError as reason:
        raise RecipeError(f"--degradation: {reason}") from None
    return degradation


def _mistake(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"][1:])
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    return f"{key or 'kind'}: {detail['msg']}"


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise RecipeError(f"--set {override!r}: write section.key=value, such as --set train.batch_size=64")
    value = _toml_value(text, option=f"--set {override!r}")
    table = values
    for name in path[:-1]:
        if not isinstance(inner := table.get(name), dict):
            raise RecipeError(f"--set {override!r}: the recipe has no table [{name}]")
        table = inner
    table[path[-1]] = value


def _toml_value(text: str, *, option: str) -> Any:
    """The value of `text` in TOML; `text` itself where it is not TOML, since a bare word is meant as a string.

    Raises:
        RecipeError: it begins like a list or a table, and is none.
    """
    text = text.strip()
    try:
        return tomlkit.value(text).unwrap()
    except tomlkit.exceptions.TOMLKitError as reason:
        if text.startswith(("[", "{")):
            raise RecipeError(
                f"{option}: begins like a list or table of TOML, and is none ({reason}); close all brackets and name "
                "each key once, or put it in quotes if it is a text"
            ) from None
        return text


def _explain(error: ValidationError, schema: type[Section] = Recipe, *, what: str = "recipe") -> Iterator[str]:
    """One line for each mistake in a strict TOML file: key, value, nearest valid key, remedy."""
    for detail in error.errors():
        location = [str(part) for part in detail["loc"]]
        path = _readable_path(schema, location)
        match detail["type"]:
            case "value_error":
                message = str(detail["ctx"]["error"])
                yield f"[{'.'.join(path)}] {message}" if path else message
            case "union_tag_invalid" | "union_tag_not_found":
                yield _explain_kind(detail, _sections_at(schema, location), table=".".join(path))
            case "missing":
                yield f"key '{path[-1]}' is missing {_where(path[:-1])}; add it (a {what} has no defaults)"
            case _:
                key = path[-1] if path else ""
                yield _explain_key(detail, _sections_at(schema, location[:-1]), key=key, where=_where(path[:-1]))


def _where(table: Sequence[str]) -> str:
    return f"in [{'.'.join(table)}]" if table else "at the top"


def _explain_key(detail: ErrorDetails, sections: Sequence[type[Section]], *, key: str, where: str) -> str:
    match detail["type"]:
        case "extra_forbidden":
            valid_keys = sorted({field.alias or key for each in sections for key, field in each.model_fields.items()})
            close = difflib.get_close_matches(key, valid_keys, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'?" if close else f"valid keys: {', '.join(valid_keys)}"
            return f"unknown key '{key}' {where}; {hint}"
        case _:
            value = "a table" if isinstance(detail["input"], dict) else repr(detail["input"])
            message = detail["msg"][0].lower() + detail["msg"][1:]
            return f"{key} = {value} {where}: {message.replace('input should', 'it should')}"


def _explain_kind(detail: ErrorDetails, sections: Sequence[type[Section]], *, table: str) -> str:
    expected = detail.get("ctx", {}).get("expected_tags", "")
    kind = repr(detail["input"].get("kind") if isinstance(detail["input"], dict) else detail["input"])
    problem = f"kind = {kind} is unknown" if detail["type"] == "union_tag_invalid" else "has no 'kind'"
    close = difflib.get_close_matches(kind.strip("'"), expected.replace("'", "").split(", "), n=1)
    choices = expected or ", ".join(repr(_kinds_of(each)[0]) for each in sections)
    hint = f"did you mean '{close[0]}'?" if close else f"choose one of {choices}"
    return f"[{table}] {problem}; {hint}"


def _readable_path(schema: type[Section], location: Sequence[str]) -> list[str]:
    """Where people look for a mistake: pydantic's location without values of `kind`, and entries of lists as [0]."""
    kinds = {kind for section in _all_sections(schema) for kind in _kinds_of(section)}
    path: list[str] = []
    for part in location:
        if path and part.isdecimal():
            path[-1] += f"[{part}]"
        elif not path or part not in kinds:
            path.append(part)
    return path


def _all_sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        for inner in _sections_in(field.annotation):
            yield from _all_sections(inner)


def _sections_in(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _sections_in(argument)]


def _kinds_of(section: type[Section]) -> tuple[Any, ...]:
    """The values of `kind` that choose this section from a union."""
    return get_args(section.model_fields["kind"].annotation) if "kind" in section.model_fields else ()


def _sections_at(schema: type[Section], path: Sequence[str]) -> list[type[Section]]:
    sections = [schema]
    for name in path:
        if name.isdecimal():  # the index in a list
            continue
        if chosen := [section for section in sections if name in _kinds_of(section)]:
            sections = chosen
            continue
        fields = [
            field for section in sections for key, field in section.model_fields.items() if (field.alias or key) == name
        ]
        sections = [inner for field in fields for inner in _sections_in(field.annotation)] or sections  # a dict's key
    return sections
