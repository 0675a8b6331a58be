"""The names and protocols of distances, and that a recipe's gate can ask for each."""

import pytest
from torch import nn

from linnet.metrics.audio_features import Embedding
from linnet.metrics.extraction import FeatureNetwork, distance_names, protocol
from linnet.metrics.image_features import Inception
from linnet.recipe import Features, GateSection, Recipe
from linnet.registry.gate import Candidate, decide
from support.tiny import tiny_music_recipe, tiny_recipe

PUBLISHED = {"inception": "6726825d", "vggish": "10086976"}


def network_of(features: Features, start: str) -> FeatureNetwork:
    sha256 = start + "0" * 56
    match features:
        case "inception":
            return Inception(nn.Identity(), sha256)
        case "vggish" | "scripted":
            return Embedding(nn.Identity(), features, sha256)
        case _:
            raise AssertionError(f"{features} has no weights")


def gated(features: Features, metric: str) -> Recipe:
    recipe = tiny_recipe() if features == "inception" else tiny_music_recipe()
    changed = recipe.model_dump(by_alias=True)
    changed["evaluate"]["features"] = [features]
    changed["register"]["gate"]["metric"] = metric
    return Recipe.model_validate(changed)


@pytest.mark.parametrize("features", ["inception", "vggish", "scripted"])
def test_a_gate_can_ask_for_what_evaluate_will_compute(features: Features) -> None:
    """With published weights and with others, whose hash nobody can know when the recipe is written."""
    starts = ["deadbeef", PUBLISHED[features]] if features in PUBLISHED else ["deadbeef"]
    for start in starts:
        for name in distance_names(features, network_of(features, start)):
            assert gated(features, name).register_.gate.metric == name


def test_only_published_weights_have_the_published_names() -> None:
    assert distance_names("vggish", network_of("vggish", "10086976")) == ("fad", "kad")
    assert distance_names("vggish", network_of("vggish", "deadbeef")) == ("frechet_vggish", "kernel_vggish")
    assert distance_names("scripted", network_of("scripted", "10086976")) == ("frechet_scripted", "kernel_scripted")
    assert distance_names("thumbnail", network_of("inception", "deadbeef")) == (
        "frechet_thumbnail",
        "kernel_thumbnail",
    )


@pytest.mark.parametrize("features", ["inception", "vggish", "scripted"])
def test_distances_of_other_weights_do_not_compare(features: Features) -> None:
    """Their names are the same, their protocols are not: the gate keeps the champion."""
    data = gated(features, f"frechet_{features}").data
    ours, theirs = (protocol(features, data, network_of(features, start)) for start in ("deadbeef", "0badcafe"))
    assert "deadbeef" in ours
    assert theirs == ours.replace("deadbeef", "0badcafe")
    gate = GateSection(
        metric=f"frechet_{features}", max_ratio_to_noise=0.5, min_improvement=0.1, when_incomparable="keep"
    )
    decision = decide(gate, Candidate(0.1, 2.0, ours, "r"), Candidate(0.9, 2.0, theirs, "r"))
    assert not decision.promote
    assert "measured by another protocol" in decision.reason
    assert decide(gate, Candidate(0.1, 2.0, ours, "r"), Candidate(0.9, 2.0, ours, "r")).promote


def test_weights_stand_in_the_protocols_of_their_own_features_only() -> None:
    data = tiny_recipe().data
    assert "deadbeef" not in protocol("thumbnail", data, network_of("inception", "deadbeef"))
    assert protocol("inception", data, network_of("inception", "6726825d")) == protocol("inception", data, None)
