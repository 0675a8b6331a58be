"""Conditions of training examples: the same texts for the same seed, dropped as often as the recipe says."""

import pytest
import torch
from torch import Tensor

from linnet.modalities.conditions import build_encoder
from linnet.modalities.statistics import Statistics
from linnet.recipe import ClassLabel, Conditioning, MultiLabel, Text, TrainingRecipe
from linnet.training.conditions import TEXT_VARIANTS, TrainingConditions, text_variants
from support.conditions import CLASS, CLASSES, LABELS, RECORDINGS, TEXT, UNCONDITIONAL
from support.tiny import tiny_music_recipe, tiny_recipe

CPU = torch.device("cpu")


def recipe_with(section: Conditioning) -> TrainingRecipe:
    recipe = tiny_recipe() if isinstance(section, ClassLabel) else tiny_music_recipe()
    return recipe.training().model_copy(update={"conditioning": section})


def sampled(section: Conditioning, statistics: Statistics, recordings: list[int], *, seed: int = 0) -> Tensor | None:
    found = TrainingConditions(recipe_with(section), statistics, CPU)
    return found.sample(torch.tensor(recordings), torch.Generator().manual_seed(seed))


# --- texts ------------------------------------------------------------------------------------------------------------


def test_the_full_text_comes_first_and_then_selections_of_it() -> None:
    rows = text_variants(RECORDINGS, count=8, seed=0)
    assert [row[0] for row in rows] == ["flute, slow, minor", "bell", "nobody knows", ""]
    assert all(len(row) == 8 for row in rows)
    for text in rows[0]:
        words = text.split(", ")
        assert set(words) <= {"flute", "slow", "minor"}
        assert len(set(words)) == len(words) > 0
    assert len(set(rows[0])) > 3, "several orders and selections"
    assert set(rows[1]) == {"bell", "one bell"}
    assert set(rows[3]) == {""}


def test_texts_depend_on_the_seed_alone() -> None:
    first, again, other = (text_variants(RECORDINGS, count=8, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert text_variants(CLASSES, count=2, seed=0)[1] == ["002.Song_Sparrow"] * 2


def test_a_recording_with_a_caption_alone_never_has_the_null_condition() -> None:
    """The null condition is for dropout; a recording that has words keeps them."""
    assert set(text_variants(RECORDINGS, count=8, seed=0)[2]) == {"nobody knows"}


# --- of training examples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "statistics"), [(TEXT, RECORDINGS), (LABELS, RECORDINGS), (CLASS, CLASSES)])
def test_conditions_are_dropped_as_often_as_the_recipe_says(
    section: Text | MultiLabel | ClassLabel, statistics: Statistics
) -> None:
    found = sampled(section, statistics, [0] * 4000)
    assert found is not None
    null = build_encoder(recipe_with(section), statistics, CPU).null_condition(1)
    dropped = (found == null).reshape(4000, -1).all(dim=1)
    assert float(dropped.double().mean()) == pytest.approx(0.25, abs=0.025)
    kept = sampled(section.model_copy(update={"dropout": 0.0}), statistics, [0] * 400)
    assert kept is not None
    assert not bool((kept == null).reshape(400, -1).all(dim=1).any())


def test_an_unconditional_model_has_no_conditions() -> None:
    assert sampled(UNCONDITIONAL, RECORDINGS, [0, 1]) is None


@pytest.mark.parametrize(("section", "statistics"), [(TEXT, RECORDINGS), (LABELS, RECORDINGS), (CLASS, CLASSES)])
def test_equal_generators_give_equal_conditions(section: Conditioning, statistics: Statistics) -> None:
    recordings = [0, 1, 2, 3] * 8
    first, again, other = (sampled(section, statistics, recordings, seed=seed) for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_labels_of_a_recording_are_its_columns() -> None:
    found = sampled(LABELS.model_copy(update={"dropout": 0.0}), RECORDINGS, [0, 1, 2, 0])
    assert found is not None
    assert found.tolist() == [[0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 1, 1, 0, 0]]


def test_classes_are_their_numbers() -> None:
    found = sampled(CLASS.model_copy(update={"dropout": 0.0}), CLASSES, [3, 0, 2])
    assert found is not None
    assert found.tolist() == [3, 0, 2]


def test_all_texts_of_a_recording_are_used() -> None:
    found = sampled(TEXT.model_copy(update={"dropout": 0.0}), RECORDINGS, [0] * 300)
    assert found is not None
    encoder = build_encoder(recipe_with(TEXT), RECORDINGS, CPU)
    known = {str(encoder.encode([text])) for text in text_variants(RECORDINGS, count=TEXT_VARIANTS, seed=0)[0]}
    assert {str(row[None]) for row in found} == known
