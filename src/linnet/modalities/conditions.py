"""The conditions of a dataset: which its classes and recordings have, and what people mean by a prompt."""

import difflib
from typing import assert_never

import numpy as np
import torch

from linnet.errors import LinnetError
from linnet.modalities.statistics import Statistics
from linnet.models.conditioning import Condition, ConditionEncoder
from linnet.recipe import ClassLabel, Conditioning, MultiLabel, Text, TrainingRecipe, Unconditional


class PromptError(LinnetError):
    """The model takes no such prompt."""


def build_encoder(recipe: TrainingRecipe, statistics: Statistics, device: torch.device) -> ConditionEncoder:
    """Turns conditions into tensors for the recipe's network."""
    return ConditionEncoder(recipe.conditioning, label_names=statistics.label_names, device=device)


def known_conditions(section: Conditioning, statistics: Statistics) -> list[Condition]:
    """The condition of each class or recording, by its number in the labels of the dataset."""
    match section:
        case Unconditional():
            return [None] * len(statistics.labels)
        case ClassLabel(num_classes=num_classes):  # classes beyond have no training example: train checks
            return [number if number < num_classes else None for number in range(len(statistics.labels))]
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


def sample_conditions(
    section: Conditioning, statistics: Statistics, rng: np.random.Generator, size: int
) -> list[Condition] | None:
    """`size` random conditions, each as often as in the training data; None for an unconditional model."""
    if isinstance(section, Unconditional):
        return None
    known, weights = known_conditions(section, statistics), np.array(statistics.example_counts, dtype=np.float64)
    return [known[number] for number in rng.choice(len(known), size=size, p=weights / weights.sum()).tolist()]


def as_text(condition: Condition, statistics: Statistics) -> str:
    """The condition as people read it; an empty text for the null condition."""
    match condition:
        case None:
            return ""
        case int():
            return statistics.label_names[condition]
        case tuple():
            return ", ".join(condition)
        case str():
            return condition


def parse_prompt(section: Conditioning, statistics: Statistics, prompt: str) -> Condition:
    """The condition that a prompt means: the name or number of a class, labels between commas or bars, or a text.

    A label that has commas itself stands alone, or between bars.

    Raises:
        PromptError: the model takes no prompts, or knows no such class; the message names similar ones.
    """
    match section:
        case Unconditional():
            raise PromptError("this model was trained with [conditioning] kind = 'none': it takes no prompt")
        case ClassLabel():
            return _find_class(statistics.label_names, prompt)
        case MultiLabel():
            return _split_labels(statistics.label_names, prompt)
        case Text():
            return prompt
        case _:
            assert_never(section)


def _split_labels(names: list[str], prompt: str) -> tuple[str, ...]:
    if prompt.strip() in names:
        return (prompt.strip(),)
    separator = "|" if "|" in prompt else ","
    return tuple(label.strip() for label in prompt.split(separator) if label.strip())


def _find_class(names: list[str], prompt: str) -> int:
    if prompt.isdecimal() and int(prompt) < len(names):
        return int(prompt)
    sought, known = _folded(prompt), [_folded(name) for name in names]
    found = [number for number, name in enumerate(known) if sought == name]  # even where it is a part of others
    found = found or [number for number, name in enumerate(known) if sought in name]
    if len(found) == 1:
        return found[0]
    near = [names[number] for number in found[:5]] or difflib.get_close_matches(prompt, names, n=5, cutoff=0.3)
    what = "several classes" if found else "no class"
    raise PromptError(f"'{prompt}' names {what} of this model; near it are {', '.join(near) or 'none'}")


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
