"""The conditions of a dataset, sampled as often as in training, and as people read them."""

import numpy as np
import pytest

from linnet.modalities.conditions import (
    as_text,
    condition_cells,
    condition_columns,
    known_conditions,
    sample_conditions,
)
from linnet.modalities.statistics import Statistics
from linnet.models.conditioning import Condition
from linnet.recipe import Conditioning
from support.conditions import CLASS, CLASSES, LABELS, RECORDINGS, TEXT, UNCONDITIONAL
from support.statistics import image_statistics


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
    assert as_text(3, CLASSES) == "sparrow (class number 4)"


def test_tables_of_samples_have_the_number_of_a_class_beside_its_name() -> None:
    counted = image_statistics(class_names=["12", "3"], class_numbers=[4, 6], class_counts=[1, 1])
    assert condition_columns(CLASS) == ["condition", "class_number"]
    assert condition_cells(1, CLASS, counted) == ["3", 6]
    assert condition_cells(None, CLASS, counted) == ["", ""]
    for section, condition, text in ((TEXT, "a bell", "a bell"), (LABELS, ("bell", "slow"), "bell, slow")):
        assert condition_columns(section) == ["condition"]
        assert condition_cells(condition, section, RECORDINGS) == [text]
