"""Sweep files: what they may say, and which runs they mean."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from linnet.recipe.load import load_recipe
from pipelines import sweep_file
from pipelines.sweep_file import (
    Params,
    SweepError,
    check_recipes,
    describe,
    dvc_changes,
    literal,
    overrides,
    read_sweep,
)
from support.sweeps import GRID, RATE, SPACE, START, sweep_of
from support.tiny import ROOT, tiny_raw_data, tiny_recipe, write_tiny_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tiny recipe."""
    sweep_file.raw_hash.cache_clear()
    (tmp_path / "recipes").mkdir()
    write_tiny_recipe(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = ", "is not valid TOML"),
        (
            'recipe = "x"\nmetric = "fid"\n' + GRID,
            "key 'seeds' is missing at the top; add it (a sweep has no defaults)",
        ),
        (START + "seed = 1\n" + GRID, "unknown key 'seed' at the top; did you mean 'seeds'?"),
        (START, "give either [grid], for all combinations of values, or [search], for Optuna"),
        (START + GRID + SPACE + RATE, "give either [grid]"),
        (START.replace("[0, 1]", "[1, 1]") + GRID, "seeds has one twice"),
        (START.replace("[0, 1]", "[-1]") + GRID, "seeds[0] = -1 at the top: it should be greater than or equal to 0"),
        (
            START + "[grid]\ntrain.learning_rate = [1]\n",
            '[grid] train: give a list of different values, such as "train.learning_rate" = [0.001, 0.002]',
        ),
        (START + '[grid]\n"train.batch_size" = 4\n', "[grid] train.batch_size: give a list of different values"),
        (START + '[grid]\n"train.batch_size" = []\n', "[grid] train.batch_size: give a list of different values"),
        (START + "[grid]\nsize = [1, 2]\n", "[grid] size: give a list of different values"),
        (START + '[grid]\n"train.seed" = [1, 2]\n', "'train.seed' is what `seeds` sets; leave it out"),
        (START + '[grid]\n"register.model_name" = ["a"]\n', "changes nothing that a sweep measures"),
        (
            START + '[grid]\n"train.batch_size" = [4, 8, 4]\n',
            "[grid] train.batch_size: give a list of different values",
        ),
        (START + '[set]\n"train.learning_rate" = 0.1\n' + GRID, "'train.learning_rate' is set in two places"),
        (
            START + SPACE + '"train.batch_size" = { low = 4 }\n',
            "write { choices = ... } with what a grid has, or for a number of the recipe { low = ..., high",
        ),
        (START + SPACE + RATE.replace("0.01", "0.0001"), "[search.space] train.learning_rate: write { choices"),
        (START + SPACE + RATE.replace("0.0001", "0"), "above 0 for a logarithm"),
        (START + SPACE + RATE.replace('"train.learning_rate"', "rate"), "[search.space] rate: write { choices"),
    ],
)
def test_a_wrong_file_is_named_in_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError) as error:
        sweep_of(text, tmp_path)
    assert message in str(error.value)
    assert all(line.startswith(str(tmp_path / "tiny.toml: ").rstrip()) for line in str(error.value).splitlines())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"none\.toml: cannot be read \(No such file"):
        read_sweep(tmp_path / "none.toml")


def test_the_shipped_sweeps_fit_their_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    paths = sorted(Path("sweeps").glob("*.toml"))
    assert paths
    for path in paths:
        sweep = read_sweep(path)
        check_recipes(sweep)


TWO_WAYS = """
[set]
"train.batch_size" = 2
[grid]
"train.learning_rate" = [1e-3, 2e-3]
[grid.size]
small = { "model.widths" = [16, 16] }
large = { "model.widths" = [16, 32], "model.embedding_dims" = 16 }
"""


def test_a_grid_is_every_value_with_every_other(project: Path) -> None:
    sweep = sweep_of(START + TWO_WAYS, project)
    found = sweep.combinations()
    assert [describe(params) for params in found] == [
        "train.learning_rate = 0.001, size = small",
        "train.learning_rate = 0.001, size = large",
        "train.learning_rate = 0.002, size = small",
        "train.learning_rate = 0.002, size = large",
    ]
    recipe = sweep.read_recipe(found[3], seed=7)
    changed = ("train.batch_size=2", "train.learning_rate=0.002", "model.embedding_dims=16")
    assert recipe == tiny_recipe(*changed, "train.seed=7", "sample.seed=7")


def test_all_bad_combinations_are_named_at_once(project: Path) -> None:
    text = START + '[grid]\n"train.ema_decay" = [0.5, 1.5]\n"model.embedding_dims" = [8, 7]\n'
    sweep = sweep_of(text, project)
    with pytest.raises(SweepError) as error:
        check_recipes(sweep)
    place = "recipes/birds-tiny.toml: "
    assert str(error.value).splitlines() == [
        f"{place}embedding_dims = 7 in [model]: it should be a multiple of 2",
        "    in 2 of 4 combinations, such as train.ema_decay = 0.5, model.embedding_dims = 7",
        f"{place}ema_decay = 1.5 in [train]: it should be less than 1",
        "    in 2 of 4 combinations, such as train.ema_decay = 1.5, model.embedding_dims = 8",
    ]


def test_a_mistake_of_every_combination_is_said_once(project: Path) -> None:
    sweep = sweep_of(START + '[set]\n"train.stesp" = 1\n' + GRID, project)
    with pytest.raises(SweepError) as error:
        check_recipes(sweep)
    assert str(error.value).count("\n") == 0
    assert "unknown key 'stesp' in [train]" in str(error.value)


def test_a_metric_that_the_recipe_does_not_compute_is_refused(project: Path) -> None:
    sweep = sweep_of(START.replace("frechet_thumbnail", "fid") + GRID, project)
    with pytest.raises(SweepError, match=r"metric = 'fid' is not computed .* use one of frechet_thumbnail"):
        check_recipes(sweep)


def test_names_follow_all_that_decides_a_result_and_nothing_else(project: Path) -> None:
    sweep = sweep_of(START + GRID, project)
    first, second = sweep.combinations()
    with pytest.raises(
        SweepError, match=r"data/birds is not there; run `linnet ingest recipes/birds-tiny\.toml` first"
    ):
        sweep.run(first, 0)
    tiny_raw_data(project / "data" / "birds")

    def name(params: Params, seed: int) -> str:
        sweep_file.raw_hash.cache_clear()
        return sweep.run(params, seed).name

    before = name(first, 0)
    assert before.startswith("tiny-")
    assert name(first, 1) == before.replace("seed0", "seed1")
    assert name(second, 0) != before
    write_tiny_recipe(project / "recipes", "register.model_name=another")
    assert name(first, 0) == before
    write_tiny_recipe(project / "recipes", "evaluate.seed=5")
    assert name(first, 0) != before
    write_tiny_recipe(project / "recipes")
    (project / "data" / "birds" / "more.txt").write_text("x")
    assert name(first, 0) != before
    other = sweep_of(START.replace("frechet_thumbnail", "kernel_thumbnail") + GRID, project)
    assert other.run(first, 0).name != name(first, 0), "the score of another metric is no score of this one"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what DVC imports
@pytest.mark.parametrize(
    "settings",
    [
        {"train.learning_rate": 1e-05, "train.seed": 3, "model.widths": [16, 48]},
        {"diffusion.schedule": {"kind": "linear", "num_timesteps": 20, "beta_start": 1e-4, "beta_end": 0.02}},
        {
            "sample.sampler": {"kind": "ddim", "num_steps": 4, "spacing": "trailing", "eta": 0.0},
            "train.horizontal_flip": False,
        },
        {"conditioning": {"kind": "none"}, "evaluate.features": ["texture", "thumbnail"]},
        {"train.optimizer": {"kind": "adam", "beta1": 0.5, "beta2": 0.75}, "register.model_name": "1e3"},
        {"conditioning": {"kind": "none"}, "data.folder": "a"},
    ],
)
def test_dvc_and_linnet_read_settings_as_the_same_recipe(settings: dict[str, Any], tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    path = write_tiny_recipe(tmp_path)
    expected = load_recipe(path, overrides(settings))
    prefix = f"{path}:"
    apply_overrides(path, [change.removeprefix(prefix) for change in dvc_changes(path, settings)])
    assert load_recipe(path) == expected != tiny_recipe()


@pytest.mark.parametrize("value", [1e-05, 3, True, "a'b\"c", [16, 32], {"kind": "x", "list": [0.5, {"a": False}]}])
def test_values_survive_as_toml(value: Any) -> None:
    assert tomllib.loads(f"x = {literal(value)}")["x"] == value
    assert "\n" not in literal(value)
