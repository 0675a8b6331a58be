"""A run's recipe: by name, by address or as a text, with changes beside it."""

import shutil
from pathlib import Path

import pytest

from linnet.recipe import texts
from linnet.recipe.load import RecipeError, load_recipe, parse_recipe
from linnet.tasks.request import requested_recipe
from support.tiny import ROOT

DEMO = ROOT / "recipes" / "birds-demo.toml"


@pytest.fixture(autouse=True)
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder of the image, which holds recipes."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("given", ["birds-demo", "birds-demo.toml", "recipes/birds-demo.toml", " birds-demo\n"])
def test_a_name_means_the_recipe_of_the_image(given: str) -> None:
    assert requested_recipe(given, "") == load_recipe(DEMO)


def test_a_text_means_itself_whatever_its_name() -> None:
    text = DEMO.read_text().replace('name = "birds-demo"', 'name = "of-my-own"')
    assert requested_recipe(text, "train.seed=7").train.seed == 7
    assert requested_recipe(text, "").name == "of-my-own"


def test_overrides_are_separated_by_spaces() -> None:
    sampler = "sample.sampler={ kind = 'ddim', num_steps = 8, eta = 0.0, spacing = 'trailing' }"
    found = requested_recipe("birds-demo", f'train.seed=1  train.batch_size=64 "{sampler}"')
    assert (found.train.seed, found.train.batch_size, found.sample.sampler.num_steps) == (1, 64, 8)


@pytest.mark.parametrize(
    ("given", "overrides", "words"),
    [
        ("", "", "the recipe is empty; give the name of a recipe"),
        ("birds-dmeo", "", r"no recipe 'birds-dmeo' in this image; give the name of a recipe \(birds, .*birds-demo, "),
        ("birds-demo", "train.sede=1", "did you mean 'seed'"),
        ("birds-demo", "train.seed='1", "no closing quotation; separate them by spaces"),
        ("birds-demo", "train.seed", "write section.key=value"),
    ],
)
def test_mistakes_are_named(given: str, overrides: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        requested_recipe(given, overrides)


def test_a_text_that_lost_its_line_ends_is_recognised() -> None:
    """As Kubeflow's one-line field hands it over: TOML would read an empty recipe, or a strange key."""
    for text in (DEMO.read_text(), 'name = "x"\n[data]\nkind = "images"\n'):
        with pytest.raises(
            RecipeError, match="the recipe is one line: the form of the Kubeflow page takes the line ends"
        ):
            requested_recipe(text.replace("\n", " "), "")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_texts_between_tasks_mean_the_same_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    assert parse_recipe(texts.recipe_text(recipe), where="text") == recipe
    assert texts.parse_data(texts.data_text(recipe)) == recipe.data
    training = texts.parse_training(texts.training_text(recipe))
    assert (training.name, training.training()) == (recipe.name, recipe.training())


def test_a_text_holds_only_what_its_task_depends_on() -> None:
    """So that an engine's cache hits although comments, layout or other sections changed."""
    recipe, other = load_recipe(DEMO), load_recipe(DEMO, ["sample.seed=1", "register.model_name=other"])
    assert texts.training_text(recipe) == texts.training_text(other)
    assert texts.recipe_text(recipe) != texts.recipe_text(other)
    again = parse_recipe("# a comment\n" + DEMO.read_text().replace(" = ", "="), where="text")
    assert texts.recipe_text(recipe) == texts.recipe_text(again)
    assert texts.data_text(recipe) == texts.data_text(load_recipe(DEMO, ["train.seed=1"]))
    assert texts.training_text(recipe) != texts.training_text(load_recipe(DEMO, ["train.seed=1"]))


def test_sections_of_another_version_are_refused() -> None:
    for parse in (texts.parse_data, texts.parse_training):
        with pytest.raises(RecipeError, match=r"not those of this version of linnet .*; start the run again"):
            parse("[data]\nkind = 'pictures'\n")
