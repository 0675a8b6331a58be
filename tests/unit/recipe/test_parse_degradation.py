"""`linnet repair --degradation`: a degradation of the recipe by its name, or one of one's own."""

from pathlib import Path

import pytest

from linnet.recipe import Recipe
from linnet.recipe.load import RecipeError, parse_degradation, parse_recipe
from linnet.recipe.restore import BandwidthExtension

RECIPES = Path(__file__).parents[3] / "recipes"
DEGRADATIONS = (
    "restore.degradations=[{ name = 'first', kind = 'denoise', noise_std = 0.1 }, "
    "{ name = 'b', kind = 'inpaint_bins', low_hz = 9.0, high_hz = 99.0, noise_std = 0.0 }]"
)


def recipe_of(name: str, *overrides: str) -> Recipe:
    return parse_recipe((RECIPES / f"{name}.toml").read_text(encoding="utf-8"), where="", overrides=overrides)


def test_a_degradation_of_the_recipe_goes_by_its_name() -> None:
    recipe = recipe_of("vocals-demo", DEGRADATIONS)
    assert parse_degradation("first", recipe) == recipe.restore.degradations[0]
    assert parse_degradation(" b ", recipe) == recipe.restore.degradations[1]


def test_a_degradation_of_ones_own_may_leave_out_name_and_noise() -> None:
    found = parse_degradation("{kind='bandwidth_extension', cutoff_hz=3000.0}", recipe_of("music-demo"))
    assert found == BandwidthExtension(name="repair", kind="bandwidth_extension", cutoff_hz=3000.0, noise_std=0.0)
    loud = parse_degradation("{kind='bandwidth_extension', cutoff_hz=3000.0, noise_std=0.1}", recipe_of("vocals-demo"))
    assert loud.noise_std == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "second",
            r"--degradation 'second': no degradation of the recipe \(first, b\) and no TOML table, such as \{kind=",
        ),
        ("3", r"--degradation '3': no degradation of the recipe \(first, b\) and no TOML table"),
        ("{kind='bandwidth_extension'}", "^--degradation: cutoff_hz: Field required$"),
        ("{kind='bandwith'}", "^--degradation: kind: Input tag 'bandwith' found using 'kind' does not match"),
        ("{cutoff_hz=3000.0}", "^--degradation: kind: Unable to extract tag"),
        (
            "{kind='super_resolution', factor=2}",
            r"^--degradation: \[restore\] degradation 'repair': this kind is not for audio",
        ),
        ("{kind='inpaint_bins', low_hz=2.0, high_hz=1.0}", "the band from low_hz = 2 to high_hz = 1 is empty"),
    ],
)
def test_what_is_no_degradation(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_degradation(text, recipe_of("vocals-demo", DEGRADATIONS))


def test_noise_does_not_add_to_magnitudes() -> None:
    with pytest.raises(RecipeError, match=r"^--degradation: .*noise does not add in magnitude spectrograms"):
        parse_degradation("{kind='bandwidth_extension', cutoff_hz=3000.0, noise_std=0.1}", recipe_of("music-demo"))
