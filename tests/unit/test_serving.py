"""What a served model refuses, as the mistake of a request (HTTP 400); what it answers is tested in e2e."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

import linnet
from linnet.artifacts import Model
from linnet.files import read_json, write_json
from linnet.recipe import Recipe
from support.audio_models import Made, made
from support.tiny import tiny_recipe
from support.training import tiny_model

if TYPE_CHECKING:
    from linnet.serving import SampleModel

# MLflow's own, when its models are imported
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model that takes prompts, and in its training always had one."""
    shared = made("music", tmp_path_factory)
    one = replace(shared, model=tmp_path_factory.mktemp("served") / "model")
    shutil.copytree(shared.model, one.model)
    values = read_json(one.model / Model.recipe, made_by="train")
    values["conditioning"]["dropout"] = 0.0
    write_json(one.model / Model.recipe, values)
    return one


def loaded(recipe: Recipe, model: Path, folder: Path) -> "SampleModel":
    from linnet.serving import SampleModel

    section = folder / "sample.json"
    section.write_text(recipe.sample.model_dump_json(), encoding="utf-8")
    served = SampleModel()
    served.load_context(SimpleNamespace(artifacts={"model": str(model), "sample": str(section)}))
    return served


@pytest.fixture
def served(music: Made, tmp_path: Path) -> "SampleModel":
    return loaded(music.recipe, music.model, tmp_path)


def ask(model: "SampleModel", **values: Any) -> pd.DataFrame:
    return model.predict(None, pd.DataFrame([values]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Give a prompt and guidance 1"),
        ({"prompt": "bell"}, "Give a prompt and guidance 1"),
        ({"prompt": "bell", "guidance": 0.0}, "Give a prompt and guidance 1"),
        ({"prompt": "bell", "label": 1}, "label: this model takes a prompt, in words"),
        ({"prompt": "bell", "guidance": 1.0, "num_samples": 0}, "num_samples = 0: ask for 1 to 4096"),
        ({"prompt": "bell", "guidance": 1.0, "steps": 0}, "steps = 0: give 1 to 50"),
    ],
)
def test_what_cannot_be_is_the_mistake_of_the_request(
    served: "SampleModel", values: dict[str, Any], words: str
) -> None:
    with pytest.raises(MlflowException, match=words) as error:
        ask(served, **values)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_with_a_prompt_and_without_guidance_it_answers(served: "SampleModel") -> None:
    answer = ask(served, prompt="bell", guidance=1.0, num_samples=2, steps=2)
    assert list(answer["number"]) == [0, 1]
    assert list(answer["prompt"]) == ["bell", "bell"]


NUMBERS = [10, 20, 30, 40, 50, 60, 70, 400_000_000]  # as a data set with gaps counts its classes


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> "SampleModel":
    """A model of classes, of which 20 has no training examples."""
    folder = tmp_path_factory.mktemp("birds")
    recipe = tiny_recipe("train.duration_kexamples=0.016", "train.warmup_kexamples=0.004")
    tiny_model(recipe, folder)
    values = read_json(folder / "model" / Model.statistics, made_by="train")
    counts = [0 if number == 20 else count for number, count in zip(NUMBERS, values["class_counts"], strict=True)]
    write_json(folder / "model" / Model.statistics, values | {"class_numbers": NUMBERS, "class_counts": counts})
    return loaded(recipe, folder / "model", folder)


def test_a_label_is_the_number_of_a_class_in_its_data_set(birds: "SampleModel") -> None:
    answer = ask(birds, label=400_000_000, num_samples=2, steps=2)
    assert list(answer.columns) == ["request", "number", "label", "class_name", "png"]
    assert list(answer["label"]) == [400_000_000] * 2
    assert list(answer["class_name"]) == ["008.Amber_Oriole"] * 2
    plain = ask(birds, steps=2)
    assert (list(plain["label"]), list(plain["class_name"])) == ([-1], [""])
    assert plain["png"][0] != answer["png"][0] != ask(birds, label=10, steps=2)["png"][0]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (1, "label = 1: class number 1: this model knows 10, 30, 40, 50, 60, 70, 400000000"),
        (-1, "label = -1: class number -1: this model knows"),
        (20, "label = 20: class number 20: 002.Sapphire_Wren .class number 20. has no training examples"),
    ],
)
def test_a_class_that_is_not_there_or_not_trained_is_refused(birds: "SampleModel", label: int, words: str) -> None:
    with pytest.raises(MlflowException, match=words):
        ask(birds, label=label, steps=2)


@pytest.mark.parametrize("change", ["MAX_SECONDS = 1.0\n", None])
def test_another_linnet_than_the_one_stored_with_the_model_is_refused(tmp_path: Path, change: str | None) -> None:
    """Changed in a line, or by a module that is gone; the same code under another path is good."""
    from linnet.serving import refuse_other_code

    stored = tmp_path / "code" / "linnet"
    shutil.copytree(Path(linnet.__file__).parent, stored, ignore=shutil.ignore_patterns("__pycache__"))
    refuse_other_code(stored)
    refuse_other_code(tmp_path / "not stored")
    requests = stored / "inference" / "requests.py"
    if change is None:
        requests.unlink()
    else:
        requests.write_text(requests.read_text(encoding="utf-8") + change, encoding="utf-8")
    with pytest.raises(MlflowException, match=r"registered with other code .*load it in a process of its own"):
        refuse_other_code(stored)
