"""Sweep files: what they may say, and which runs they mean."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from linnet.recipe.load import load_recipe
from pipelines.sweep import check
from pipelines.sweeping import points
from pipelines.sweeping.points import Combination, Namer
from pipelines.sweeping.project import Project
from pipelines.sweeping.settings import changes, toml_text
from pipelines.sweeping.sweep_file import SweepError, read_sweep
from support.sweeps import GRID, RATE, SPACE, START, sweep_of
from support.tiny import ROOT, tiny_raw_data, tiny_recipe, write_tiny_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tiny recipe."""
    (tmp_path / "recipes").mkdir()
    write_tiny_recipe(tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe = ", "is not valid TOML"),
        ('recipe = "x"\nmetric = "fid"\n' + GRID, "'seeds' is missing; add it (a sweep has no defaults)"),
        (START + "seed = 1\n" + GRID, "'seed' is unknown; at the top are recipe, metric, seeds, set, grid, search"),
        (START, "give either [grid], for all combinations of values, or [search], for Optuna"),
        (START + GRID + SPACE + RATE, "give either [grid]"),
        (START.replace("[0, 1]", "[1, 1]") + GRID, "seeds has 1 twice"),
        (START.replace("[0, 1]", "[-1]") + GRID, "seeds.0 = -1: input should be greater than or equal to 0"),
        (START + "[grid]\ntrain.learning_rate = [1]\n", 'put the whole key into quotes, "train.learning_rate" = [...]'),
        (START + '[grid]\n"train.batch_size" = 4\n', "[grid] 'train.batch_size': give a list of values"),
        (START + '[grid]\n"train.batch_size" = []\n', "[grid] 'train.batch_size': give a list of values"),
        (START + "[grid]\nsize = [1, 2]\n", "'size' is no key of a recipe"),
        (START + '[grid]\n"train.seed" = [1, 2]\n', "'train.seed' is what `seeds` sets; leave it out"),
        (START + '[grid]\n"register.model_name" = ["a"]\n', "changes nothing that a sweep measures"),
        (START + '[grid]\n"train.batch_size" = [4, 8, 4]\n', "'train.batch_size' has 4 twice"),
        (START + '[set]\n"train.learning_rate" = 0.1\n' + GRID, "'train.learning_rate' is set in two places"),
        (
            START + SPACE + '"train.batch_size" = { low = 4 }\n',
            "write { low = ..., high = ..., log = ... } or { choices",
        ),
        (START + SPACE + RATE.replace("0.01", "0.0001"), "low = 0.0001 is not below high = 0.0001"),
        (START + SPACE + RATE.replace("0.0001", "0"), "low = 0 has no logarithm"),
        (START + SPACE + RATE.replace('"train.learning_rate"', "rate"), "rate: a range is for a recipe's key"),
    ],
)
def test_a_wrong_file_is_named_in_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError) as error:
        sweep_of(text, tmp_path)
    assert said in str(error.value)
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
        points.check(sweep, points.all_combinations(sweep))


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
    found = points.all_combinations(sweep)
    assert [str(combination) for combination in found] == [
        "train.learning_rate = 0.001, size = small",
        "train.learning_rate = 0.001, size = large",
        "train.learning_rate = 0.002, size = small",
        "train.learning_rate = 0.002, size = large",
    ]
    recipe = points.recipe_of(sweep, found[3], seed=7)
    wanted = ("train.batch_size=2", "train.learning_rate=0.002", "model.embedding_dims=16")
    assert recipe == tiny_recipe(*wanted, "train.seed=7", "sample.seed=7")


def test_all_bad_combinations_are_named_at_once(project: Path) -> None:
    text = START + '[grid]\n"train.ema_decay" = [0.5, 1.5]\n"model.embedding_dims" = [8, 7]\n'
    sweep = sweep_of(text, project)
    with pytest.raises(SweepError) as error:
        points.check(sweep, points.all_combinations(sweep))
    place = "recipes/birds-tiny.toml: "
    assert str(error.value).splitlines() == [
        f"{place}embedding_dims = 7 in [model]: it should be a multiple of 2",
        "    where train.ema_decay = 0.5, model.embedding_dims = 7",
        "    where train.ema_decay = 1.5, model.embedding_dims = 7",
        f"{place}ema_decay = 1.5 in [train]: it should be less than 1",
        "    where train.ema_decay = 1.5, model.embedding_dims = 8",
        "    where train.ema_decay = 1.5, model.embedding_dims = 7",
    ]


def test_a_mistake_of_every_combination_is_said_once(project: Path) -> None:
    sweep = sweep_of(START + '[set]\n"train.stesp" = 1\n' + GRID, project)
    with pytest.raises(SweepError) as error:
        points.check(sweep, points.all_combinations(sweep))
    assert str(error.value).count("\n") == 0
    assert "unknown key 'stesp' in [train]" in str(error.value)


def test_a_metric_that_the_recipe_does_not_compute_is_refused(project: Path) -> None:
    sweep = sweep_of(START.replace("frechet_thumbnail", "fid") + GRID, project)
    with pytest.raises(SweepError, match=r"metric = 'fid' is not computed .* use one of frechet_thumbnail"):
        points.check(sweep, points.all_combinations(sweep))


def test_combinations_that_come_to_the_same_recipe_are_refused(project: Path) -> None:
    tiny_raw_data(project / "data" / "birds")
    sweep = sweep_of(START + '[grid]\n"train.duration_kexamples" = [1, 1.0]\n', project)
    namer = Namer(sweep, project / "data")
    with pytest.raises(SweepError, match="come to the same recipe"):
        points.check_distinct([namer.run(combination, 0) for combination in points.all_combinations(sweep)])


SAME_TWICE = '"train.duration_kexamples" = '


@pytest.mark.parametrize(
    "text", ["[grid]\n" + SAME_TWICE + "[1, 1.0]\n", SPACE + SAME_TWICE + "{ choices = [1, 1.0] }\n"]
)
def test_whatever_can_be_checked_is_checked_before_anything_runs(project: Path, text: str) -> None:
    """Also with --dry-run, and also of a search."""
    tiny_raw_data(project / "data" / "birds")
    sweep = sweep_of(START + text, project)
    with pytest.raises(SweepError, match=r"same recipe, leave one out:\n.*kexamples = 1\n.*kexamples = 1\.0"):
        check(sweep, Namer(sweep, project / "data"))
    good = sweep_of(START + text.replace("1.0", "2.0"), project)
    check(good, Namer(good, project / "data"))


def test_weights_stay_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in a clone, where a relative path leads nowhere."""
    monkeypatch.setenv("LINNET_INCEPTION_WEIGHTS", "weights/inception.pth")
    monkeypatch.setenv("LINNET_EMBEDDING_WEIGHTS", "/there/vggish.pth")
    environment = Project(ROOT).environment()
    assert environment["LINNET_INCEPTION_WEIGHTS"] == str(ROOT / "weights/inception.pth")
    assert environment["LINNET_EMBEDDING_WEIGHTS"] == "/there/vggish.pth"
    monkeypatch.setenv("LINNET_INCEPTION_WEIGHTS", "")
    monkeypatch.setenv("LINNET_EMBEDDING_WEIGHTS", "vggish.pth")
    environment = Project(ROOT).environment()
    assert "LINNET_INCEPTION_WEIGHTS" not in environment
    assert environment["LINNET_EMBEDDING_WEIGHTS"] == str(ROOT / "vggish.pth")


def test_names_follow_all_that_decides_a_result_and_nothing_else(project: Path) -> None:
    sweep = sweep_of(START + GRID, project)
    first, second = points.all_combinations(sweep)
    with pytest.raises(
        SweepError, match=r"data/birds is not there; run `linnet ingest recipes/birds-tiny\.toml` first"
    ):
        Namer(sweep, Path("data")).run(first, 0)
    tiny_raw_data(project / "data" / "birds")

    def name(combination: Combination, seed: int) -> str:
        return Namer(sweep, project / "data").run(combination, seed).name

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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what DVC imports
@pytest.mark.parametrize(
    "overrides",
    [
        ["train.learning_rate=1e-05", "train.seed=3", "model.widths=[16, 48]"],
        ['diffusion.schedule={kind = "linear", num_timesteps = 20, beta_start = 1e-4, beta_end = 0.02}'],
        ['sample.sampler={kind = "ddim", num_steps = 4, eta = 0.0}', "train.horizontal_flip=false"],
        ['conditioning={kind = "none"}', 'evaluate.features=["texture", "thumbnail"]'],
        ['train.optimizer={kind = "adam", beta1 = 0.5, beta2 = 0.75}', 'register.model_name="1e3"'],
        [],
    ],
)
def test_dvc_reads_our_changes_as_the_recipe_that_was_meant(overrides: list[str], tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    path = write_tiny_recipe(tmp_path)
    wanted = tiny_recipe(*overrides)
    before = tomllib.loads(path.read_text())
    if found := list(changes(before, wanted.model_dump(mode="json", by_alias=True))):
        apply_overrides(path, found)
    assert load_recipe(path) == wanted
    assert bool(found) == bool(overrides)


@pytest.mark.parametrize("value", [1e-05, 3, True, "a'b\"c", [16, 32], {"kind": "x", "list": [0.5, {"a": False}]}])
def test_values_survive_as_toml(value: Any) -> None:
    assert tomllib.loads(f"x = {toml_text(value)}")["x"] == value
    assert "\n" not in toml_text(value)
