"""The conditions of a dataset, sampled as often as in training, and what people mean by a prompt."""

import numpy as np
import pytest

from linnet.modalities.conditions import (
    PromptError,
    as_text,
    known_conditions,
    parse_prompt,
    sample_conditions,
)
from linnet.modalities.statistics import Statistics
from linnet.models.conditioning import Condition
from linnet.recipe import Conditioning
from support.conditions import CLASS, CLASSES, LABELS, RECORDINGS, TEXT, UNCONDITIONAL

# --- conditions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "statistics", "never"),
    [(TEXT, RECORDINGS, "bell"), (LABELS, RECORDINGS, ("bell",)), (CLASS, CLASSES, 1)],
)
def test_conditions_are_sampled_as_often_as_in_training(
    section: Conditioning, statistics: Statistics, never: Condition
) -> None:
    size = 4000
    found = sample_conditions(section, statistics, np.random.default_rng(0), size)
    assert found is not None
    known, totals = known_conditions(section, statistics), statistics.example_counts
    assert never not in found, "a recording of the test split"
    for condition in set(known):
        expected = sum(count for one, count in zip(known, totals, strict=True) if one == condition) / sum(totals)
        assert found.count(condition) / size == pytest.approx(expected, abs=0.03)


def test_an_unconditional_model_has_no_conditions_to_sample() -> None:
    assert sample_conditions(UNCONDITIONAL, RECORDINGS, np.random.default_rng(0), 5) is None
    assert known_conditions(UNCONDITIONAL, RECORDINGS) == [None] * 4


def test_conditions_read_as_people_say_them() -> None:
    assert as_text(None, RECORDINGS) == ""
    assert as_text(("flute", "slow"), RECORDINGS) == "flute, slow"
    assert as_text("a slow flute", RECORDINGS) == "a slow flute"
    assert as_text(1, CLASSES) == "002.Song_Sparrow"


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
def test_a_prompt_names_a_class_by_name_or_number(prompt: str, number: int) -> None:
    """A full name is that class, even where it is a part of other names."""
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
def test_an_unclear_class_is_refused_with_similar_names(prompt: str, words: str) -> None:
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
        parse_prompt(UNCONDITIONAL, RECORDINGS, "a bell")
