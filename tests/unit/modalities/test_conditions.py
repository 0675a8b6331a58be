"""What a network is told: the same words for the same seed, dropped as often as the recipe says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.modalities import conditions
from linnet.modalities.conditions import Condition, PromptError, TrainingConditions, parse_prompt
from linnet.modalities.statistics import Statistics
from linnet.recipe import (
    ClassLabel,
    Conditioning,
    MultiLabel,
    Text,
    TrainedTextEncoder,
    TrainingRecipe,
    Unconditional,
)
from support.statistics import audio_statistics, image_statistics
from support.tiny import tiny_music_recipe, tiny_recipe

CPU = torch.device("cpu")
CLASSES = image_statistics(
    class_names=["001.Ruby_Linnet", "002.Song_Sparrow", "003.Fox_Sparrow", "sparrow"], class_counts=[3, 0, 1, 4]
)
RECORDINGS = audio_statistics(
    label_names=["bell", "flute", "minor", "slow"],
    recordings=[
        {"name": "a", "labels": ["flute", "slow", "minor"], "caption": ""},
        {"name": "b", "labels": ["bell"], "caption": "one bell"},
        {"name": "c", "labels": [], "caption": "nobody knows"},
        {"name": "d", "labels": [], "caption": ""},
    ],
    recording_counts=[5, 0, 2, 1],
)
ENCODER = TrainedTextEncoder(kind="trained", num_buckets=64, width=8, num_heads=1, max_words=8)
TEXT = Text(kind="text", encoder=ENCODER, dropout=0.25)
LABELS = MultiLabel(kind="multi_label", num_labels=6, dropout=0.25)
CLASS = ClassLabel(kind="class_label", num_classes=4, dropout=0.25)
NOTHING = Unconditional(kind="none")


def recipe_with(section: Conditioning) -> TrainingRecipe:
    recipe = tiny_recipe() if isinstance(section, ClassLabel) else tiny_music_recipe()
    return recipe.training().model_copy(update={"conditioning": section})


def drawn(section: Conditioning, statistics: Statistics, recordings: list[int], *, seed: int = 0) -> Tensor | None:
    found = TrainingConditions(recipe_with(section), statistics, CPU)
    return found.draw(torch.tensor(recordings), torch.Generator().manual_seed(seed))


# --- texts ------------------------------------------------------------------------------------------------------------


def test_texts_say_everything_first_and_then_parts_of_it() -> None:
    rows = conditions.texts(RECORDINGS, count=8, seed=0)
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
    first, again, other = (conditions.texts(RECORDINGS, count=8, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert conditions.texts(CLASSES, count=2, seed=0)[1] == ["002.Song_Sparrow"] * 2


def test_a_recording_with_a_caption_alone_is_never_told_nothing() -> None:
    """Nothing is what dropout tells; a recording that has words is told words."""
    assert set(conditions.texts(RECORDINGS, count=8, seed=0)[2]) == {"nobody knows"}


# --- of training examples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "statistics"), [(TEXT, RECORDINGS), (LABELS, RECORDINGS), (CLASS, CLASSES)])
def test_conditions_are_dropped_as_often_as_the_recipe_says(
    section: Text | MultiLabel | ClassLabel, statistics: Statistics
) -> None:
    found = drawn(section, statistics, [0] * 4000)
    assert found is not None
    nothing = conditions.build_encoder(recipe_with(section), statistics, CPU).nothing(1)
    dropped = (found == nothing).reshape(4000, -1).all(dim=1)
    assert float(dropped.double().mean()) == pytest.approx(0.25, abs=0.025)
    kept = drawn(section.model_copy(update={"dropout": 0.0}), statistics, [0] * 400)
    assert kept is not None
    assert not bool((kept == nothing).reshape(400, -1).all(dim=1).any())


def test_an_unconditional_model_is_told_nothing() -> None:
    assert drawn(NOTHING, RECORDINGS, [0, 1]) is None


@pytest.mark.parametrize(("section", "statistics"), [(TEXT, RECORDINGS), (LABELS, RECORDINGS), (CLASS, CLASSES)])
def test_equal_generators_draw_equal_conditions(section: Conditioning, statistics: Statistics) -> None:
    recordings = [0, 1, 2, 3] * 8
    first, again, other = (drawn(section, statistics, recordings, seed=seed) for seed in (3, 3, 4))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_labels_of_a_recording_are_its_columns() -> None:
    found = drawn(LABELS.model_copy(update={"dropout": 0.0}), RECORDINGS, [0, 1, 2, 0])
    assert found is not None
    assert found.tolist() == [[0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 1, 1, 0, 0]]


def test_classes_are_told_by_their_number() -> None:
    found = drawn(CLASS.model_copy(update={"dropout": 0.0}), CLASSES, [3, 0, 2])
    assert found is not None
    assert found.tolist() == [3, 0, 2]


def test_all_texts_of_a_recording_are_used() -> None:
    found = drawn(TEXT.model_copy(update={"dropout": 0.0}), RECORDINGS, [0] * 300)
    assert found is not None
    encoder = conditions.build_encoder(recipe_with(TEXT), RECORDINGS, CPU)
    known = {str(encoder.encode([text])) for text in conditions.texts(RECORDINGS, count=conditions.VARIANTS, seed=0)[0]}
    assert {str(row[None]) for row in found} == known


# --- of samples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "statistics", "never"),
    [(TEXT, RECORDINGS, "bell"), (LABELS, RECORDINGS, ("bell",)), (CLASS, CLASSES, 1)],
)
def test_conditions_are_drawn_as_often_as_in_training(
    section: Conditioning, statistics: Statistics, never: Condition
) -> None:
    size = 4000
    found = conditions.draw(section, statistics, np.random.default_rng(0), size)
    assert found is not None
    known, counts = conditions.known_conditions(section, statistics), statistics.example_counts
    assert never not in found, "a recording of the test split"
    for condition in set(known):
        expected = sum(count for one, count in zip(known, counts, strict=True) if one == condition) / sum(counts)
        assert found.count(condition) / size == pytest.approx(expected, abs=0.03)


def test_an_unconditional_model_has_no_conditions_to_draw() -> None:
    assert conditions.draw(NOTHING, RECORDINGS, np.random.default_rng(0), 5) is None
    assert conditions.known_conditions(NOTHING, RECORDINGS) == [None] * 4


def test_conditions_read_as_people_say_them() -> None:
    assert conditions.as_text(None, RECORDINGS) == ""
    assert conditions.as_text(("flute", "slow"), RECORDINGS) == "flute, slow"
    assert conditions.as_text("a slow flute", RECORDINGS) == "a slow flute"
    assert conditions.as_text(1, CLASSES) == "002.Song_Sparrow"


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "number"),
    [
        ("2", 2),
        ("ruby linnet", 0),
        ("Ruby_Linnet", 0),
        ("002.song_sparrow", 1),
        (" fox ", 2),
        ("sparrow", 3),
        ("SPARROW", 3),
    ],
)
def test_a_class_is_asked_for_by_name_or_number(prompt: str, number: int) -> None:
    """A whole name is that class, also where it is a part of others."""
    assert parse_prompt(CLASS, CLASSES, prompt) == number


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("o", "'o' names several classes of this model; near it are 002.Song_Sparrow, 003.Fox_Sparrow, sparrow"),
        ("rubby linet", "'rubby linet' names no class of this model; near it are 001.Ruby_Linnet"),
        ("4", "'4' names no class"),
        ("xyzzy", "near it are none"),
    ],
)
def test_an_unclear_class_is_answered_with_near_names(prompt: str, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        parse_prompt(CLASS, CLASSES, prompt)


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("flute, slow", ("flute", "slow")),
        (" flute ,, slow, ", ("flute", "slow")),
        (" flute|slow | ", ("flute", "slow")),
        ("drum, bass", ("drum, bass",)),
        (" drum, bass ", ("drum, bass",)),
        ("flute | drum, bass", ("flute", "drum, bass")),
        ("drum, bass|", ("drum, bass",)),
        ("drum, flute", ("drum", "flute")),
        ("rock|pop", ("rock|pop",)),
        ("", ()),
    ],
)
def test_labels_come_with_commas_or_bars(prompt: str, labels: tuple[str, ...]) -> None:
    """Recipes may separate labels by anything, so a label may have commas or bars of its own."""
    names = [*RECORDINGS.label_names, "drum, bass", "rock|pop"]
    assert parse_prompt(LABELS, RECORDINGS.model_copy(update={"label_names": names}), prompt) == labels


def test_text_is_taken_as_it_is() -> None:
    assert parse_prompt(TEXT, RECORDINGS, "a slow melody, on a bell") == "a slow melody, on a bell"


def test_a_model_without_conditions_takes_no_prompt() -> None:
    with pytest.raises(PromptError, match="kind = 'none': it takes no prompt"):
        parse_prompt(NOTHING, RECORDINGS, "a bell")
