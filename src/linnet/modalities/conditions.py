"""The conditions of a dataset: which its classes and recordings have."""

from typing import assert_never

import numpy as np
import torch

from linnet.modalities.statistics import ImageStatistics, Statistics
from linnet.models.conditioning import Condition, ConditionEncoder
from linnet.recipe import ClassLabel, Conditioning, MultiLabel, Text, TrainingRecipe, Unconditional


def build_encoder(recipe: TrainingRecipe, statistics: Statistics, device: torch.device) -> ConditionEncoder:
    """Turns conditions into tensors for the recipe's network."""
    return ConditionEncoder(recipe.conditioning, label_names=statistics.label_names, device=device)


def known_conditions(section: Conditioning, statistics: Statistics) -> list[Condition]:
    """The condition of each class or recording, by its number in the labels of the dataset."""
    match section:
        case Unconditional():
            return [None] * len(statistics.labels)
        case ClassLabel(num_classes=num_classes):  # classes beyond have no training example: train checks
            return [label if label < num_classes else None for label in range(len(statistics.labels))]
        case MultiLabel():
            return list(statistics.labels)
        case Text():
            return list(full_texts(statistics))
        case _:
            assert_never(section)


def full_texts(statistics: Statistics) -> list[str]:
    """The name of each class, or all labels of each recording, or its caption where it has no labels."""
    return [
        ", ".join(labels) or caption for labels, caption in zip(statistics.labels, statistics.captions, strict=True)
    ]


def condition_columns(section: Conditioning) -> list[str]:
    """The columns of a table of samples that say what they are of; `condition_cells` fills them."""
    return ["condition", "class_number"] if isinstance(section, ClassLabel) else ["condition"]


def condition_cells(condition: Condition, section: Conditioning, statistics: Statistics) -> list[str | int]:
    """The name of a class, the labels or the text, and the number of a class; "" for the null condition."""
    if not isinstance(section, ClassLabel):
        return [as_text(condition, statistics)]
    assert isinstance(statistics, ImageStatistics), "only images have classes"
    if condition is None:
        return ["", ""]
    assert isinstance(condition, int), condition
    return [statistics.class_names[condition], statistics.class_numbers[condition]]


def sample_conditions(
    section: Conditioning, statistics: Statistics, rng: np.random.Generator, size: int
) -> list[Condition] | None:
    """`size` random conditions, each as often as in the training data; None for an unconditional model."""
    if isinstance(section, Unconditional):
        return None
    known, weights = known_conditions(section, statistics), np.array(statistics.example_counts, dtype=np.float64)
    return [known[number] for number in rng.choice(len(known), size=size, p=weights / weights.sum()).tolist()]


def as_text(condition: Condition, statistics: Statistics) -> str:
    """The condition as people read it, a class with its number; an empty text for the null condition."""
    match condition:
        case None:
            return ""
        case int():
            assert isinstance(statistics, ImageStatistics), "only images have classes"
            return statistics.class_title(condition)
        case tuple():
            return ", ".join(condition)
        case str():
            return condition
