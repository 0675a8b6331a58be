"""A recipe of the first format means what it meant then, and nothing else changes."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from linnet.recipe import Recipe
from linnet.recipe.earlier import bring_up_to_date
from linnet.recipe.load import RecipeError, parse_recipe

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))


def in_first_format(values: dict[str, Any]) -> dict[str, Any]:
    """The same recipe as the first linnet wrote it, as far as that could."""
    old = copy.deepcopy(values)
    old["data"]["kind"] = {"images": "caltech_birds", "audio": "sound"}[old["data"]["kind"]]
    old["data"].pop("layout", None)
    old["model"].pop("patch_overlap", None)
    del old["train"]["learning_rate_decay"], old["sample"]["sampler"]["spacing"], old["restore"]["spacing"]
    old["restore"]["tasks"] = old["restore"].pop("degradations")
    return old


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_an_old_recipe_is_read_as_it_was_meant(path: Path) -> None:
    today = tomllib.loads(path.read_text(encoding="utf-8"))
    then = in_first_format(today)
    meant = copy.deepcopy(today)
    meant["train"]["learning_rate_decay"] = "none"
    meant["sample"]["sampler"]["spacing"] = meant["restore"]["spacing"] = "trailing"
    if "patch_overlap" in meant["model"]:
        meant["model"]["patch_overlap"] = 0
    lines = bring_up_to_date(then)
    assert Recipe.model_validate(then) == Recipe.model_validate(meant)
    assert lines[0] in ("data.kind = 'images'", "data.kind = 'audio'")
    assert lines[-1] == "restore.degradations instead of restore.tasks"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_today_stays_as_it_is(path: Path) -> None:
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    before = copy.deepcopy(values)
    assert bring_up_to_date(values) == []
    assert values == before


def test_it_is_said_and_mistakes_are_still_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    text = (RECIPES[0].parent / "birds-demo.toml").read_text(encoding="utf-8")
    old = text.replace('kind = "images"', 'kind = "caltech_birds"').replace("batch_size", "bach_size")
    with pytest.raises(RecipeError, match="'batch_size' is missing"):
        parse_recipe(old, where="mine.toml")
    assert "mine.toml: written for an earlier linnet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "values", [{}, {"data": 3}, {"data": {"kind": ["sound"]}}, {"data": {"kind": "sound"}, "sample": 1}]
)
def test_what_is_no_recipe_is_the_schemas_to_refuse(values: dict[str, Any]) -> None:
    bring_up_to_date(values)
