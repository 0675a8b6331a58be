"""`linnet repair --task`: a task of the recipe by its name, or one of one's own."""

from pathlib import Path

import pytest

from linnet.recipe import BandwidthExtension, Recipe
from linnet.recipe.load import RecipeError, parse_recipe, parse_task

RECIPES = Path(__file__).parents[3] / "recipes"
TASKS = (
    "restore.tasks=[{ name = 'first', kind = 'denoise', noise_std = 0.1 }, "
    "{ name = 'b', kind = 'inpaint_bins', low_hz = 9.0, high_hz = 99.0, noise_std = 0.0 }]"
)


def recipe_of(name: str, *overrides: str) -> Recipe:
    return parse_recipe((RECIPES / f"{name}.toml").read_text(encoding="utf-8"), where="", overrides=overrides)


def test_a_task_of_the_recipe_goes_by_its_name() -> None:
    recipe = recipe_of("vocals-demo", TASKS)
    assert parse_task("first", recipe) == recipe.restore.tasks[0]
    assert parse_task(" b ", recipe) == recipe.restore.tasks[1]


def test_a_task_of_ones_own_may_leave_out_name_and_noise() -> None:
    task = parse_task("{kind='bandwidth_extension', cutoff_hz=3000.0}", recipe_of("music-demo"))
    assert task == BandwidthExtension(name="repair", kind="bandwidth_extension", cutoff_hz=3000.0, noise_std=0.0)
    loud = parse_task("{kind='bandwidth_extension', cutoff_hz=3000.0, noise_std=0.1}", recipe_of("vocals-demo"))
    assert loud.noise_std == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("second", r"--task 'second': no task of the recipe \(first, b\) and no TOML table, such as \{kind='denoise',"),
        ("3", r"--task '3': no task of the recipe \(first, b\) and no TOML table"),
        ("{kind='bandwidth_extension'}", "^--task: cutoff_hz: Field required$"),
        ("{kind='bandwith'}", "^--task: kind: Input tag 'bandwith' found using 'kind' does not match"),
        ("{cutoff_hz=3000.0}", "^--task: kind: Unable to extract tag"),
        ("{kind='super_resolution', factor=2}", r"^--task: \[restore\] task 'repair' is of another kind than audio"),
        ("{kind='inpaint_bins', low_hz=2.0, high_hz=1.0}", "the band from low_hz = 2 to high_hz = 1 is empty"),
    ],
)
def test_what_is_no_task(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_task(text, recipe_of("vocals-demo", TASKS))


def test_noise_does_not_add_to_magnitudes() -> None:
    with pytest.raises(RecipeError, match=r"^--task: .*noise does not add in magnitude spectrograms"):
        parse_task("{kind='bandwidth_extension', cutoff_hz=3000.0, noise_std=0.1}", recipe_of("music-demo"))
