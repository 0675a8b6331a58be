"""`--set` and `--degradation`: values in TOML, bare words, and what looks like TOML and is none."""

from pathlib import Path

import pytest

from linnet.recipe import Recipe
from linnet.recipe.load import RecipeError, parse_degradation, parse_recipe
from linnet.recipe.restore import InpaintPixels

RECIPES = Path(__file__).parents[3] / "recipes"


def recipe_of(name: str, *overrides: str) -> Recipe:
    return parse_recipe((RECIPES / f"{name}.toml").read_text(encoding="utf-8"), where="", overrides=overrides)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{kind='seeded', kind='official'}", 'Key "kind" already exists'),
        ("{a=1, a.b=2}", 'Key "a" already exists'),
        ("{kind='official', seed", "Unexpected character"),
        ("[1, 2", "Unexpected character"),
        ("[" * 500, "nested more than 100 levels deep"),
    ],
)
def test_a_table_or_a_list_with_a_mistake_is_no_text(value: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=rf"^--set .data\.split=.*: begins like .* none \(.*{reason}.*\); close all"):
        recipe_of("birds-demo", f"data.split={value}")
    with pytest.raises(RecipeError, match=rf"^--degradation .*: begins like a list or table .*{reason}.*; close all"):
        parse_degradation(value, recipe_of("birds-demo"))


def test_a_bare_word_is_a_text_and_a_quoted_one_too() -> None:
    assert recipe_of("birds-demo", "data.folder=fish").data.folder == "fish"
    assert recipe_of("birds-demo", "data.folder = 'fish' ").data.folder == "fish"


def test_missing_pixels_of_a_file_of_ones_own_are_those_of_its_mask() -> None:
    """So nobody has to say where pixels of made-up examples would be missing."""
    found = parse_degradation("{kind='inpaint_pixels'}", recipe_of("birds-demo"))
    assert isinstance(found, InpaintPixels)
    assert (found.name, found.noise_std) == ("repair", 0.0)
    given = parse_degradation("{kind='inpaint_pixels', pattern='square', noise_std=0.1}", recipe_of("birds-demo"))
    assert isinstance(given, InpaintPixels)
    assert (given.pattern, given.noise_std) == ("square", 0.1)
