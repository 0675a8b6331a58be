"""DVC experiments: the changes of a recipe as DVC reads them, where a clone finds what it needs, why a run failed."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from linnet.recipe.load import load_recipe
from pipelines.experiments import changes, environment, failure_reason, literal
from support.tiny import ROOT, tiny_recipe, write_tiny_recipe


def test_weights_stay_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in a clone, where a relative path leads nowhere."""
    monkeypatch.setenv("LINNET_INCEPTION_WEIGHTS", "weights/inception.pth")
    monkeypatch.setenv("LINNET_EMBEDDING_WEIGHTS", "/there/vggish.pth")
    found = environment(ROOT)
    assert found["LINNET_INCEPTION_WEIGHTS"] == str(ROOT / "weights/inception.pth")
    assert found["LINNET_EMBEDDING_WEIGHTS"] == "/there/vggish.pth"
    monkeypatch.setenv("LINNET_INCEPTION_WEIGHTS", "")
    monkeypatch.setenv("LINNET_EMBEDDING_WEIGHTS", "vggish.pth")
    found = environment(ROOT)
    assert "LINNET_INCEPTION_WEIGHTS" not in found
    assert found["LINNET_EMBEDDING_WEIGHTS"] == str(ROOT / "vggish.pth")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("> linnet train\nlinnet: step 2: loss nan\nERROR: failed to reproduce\n", "step 2: loss nan"),
        ("WARNING: x\nERROR: failed to run: exited with -11\n", "failed to run: exited with -11"),
        ("Killed\n", "exit status 3"),
    ],
)
def test_the_reason_of_a_failure_is_linnets_own_sentence_where_there_is_one(message: str, reason: str) -> None:
    assert failure_reason(message, 3) == reason


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
    expected = tiny_recipe(*overrides)
    before = tomllib.loads(path.read_text())
    if found := list(changes(before, expected.model_dump(mode="json", by_alias=True))):
        apply_overrides(path, found)
    assert load_recipe(path) == expected
    assert bool(found) == bool(overrides)


@pytest.mark.parametrize("value", [1e-05, 3, True, "a'b\"c", [16, 32], {"kind": "x", "list": [0.5, {"a": False}]}])
def test_values_survive_as_toml(value: Any) -> None:
    assert tomllib.loads(f"x = {literal(value, ' = ')}")["x"] == value
    assert "\n" not in literal(value, " = ")
