"""The names in the recipe and the extractors are the same, with and without weights."""

from pathlib import Path
from typing import get_args

import pytest

import linnet.metrics.extractors
from linnet.metrics.extractors.base import LearnedExtractor
from linnet.metrics.extractors.build import extractor_class, find_weights
from linnet.metrics.extractors.weights import WeightsError
from linnet.recipe import AudioFeatures, Features, ImageFeatures
from linnet.recipe.evaluate import LearnedFeatures
from support.extractors import Moments, found, script

NAMES: tuple[Features, ...] = get_args(Features)
NO_EXTRACTORS = {"__init__", "base", "build", "weights"}


def test_every_name_of_a_recipe_has_an_extractor_and_the_other_way_round() -> None:
    folder = Path(linnet.metrics.extractors.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - NO_EXTRACTORS == set(NAMES)
    for name in NAMES:
        found_class = extractor_class(name)
        assert found_class.name == name
        assert found_class.__module__ == f"linnet.metrics.extractors.{name}"


@pytest.mark.parametrize("name", NAMES)
def test_an_extractor_is_what_the_recipe_takes_it_for(name: Features) -> None:
    kind = extractor_class(name)
    assert kind.modality == ("images" if name in get_args(ImageFeatures) else "audio")
    assert set(get_args(ImageFeatures)) | set(get_args(AudioFeatures)) == set(NAMES)
    assert issubclass(kind, LearnedExtractor) == (name in get_args(LearnedFeatures))
    assert kind.definition


def test_protocols_differ() -> None:
    assert len({extractor_class(name).definition for name in NAMES}) == len(NAMES)


def test_the_weights_of_a_recipe_are_those_of_the_features_that_need_some(tmp_path: Path) -> None:
    path = script(Moments(), tmp_path / "moments.pt")
    assert find_weights(["thumbnail", "texture"], path, None) is None
    assert find_weights(["log_mel"], None, None) is None
    weights = find_weights(["log_mel", "scripted"], path, None)
    assert weights is not None
    assert weights == found("scripted", path)
    with pytest.raises(WeightsError, match="'scripted' features need a TorchScript file"):
        find_weights(["log_mel", "scripted"], None, None)
