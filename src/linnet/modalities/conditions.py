"""What the network is told besides the noisy example: which class, which labels, which words."""

import difflib
from collections.abc import Sequence
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from linnet.errors import LinnetError
from linnet.modalities.statistics import Statistics
from linnet.models.conditioning import ConditionEncoder
from linnet.recipe import (
    ClassLabel,
    Conditioning,
    HuggingFaceTextEncoder,
    MultiLabel,
    Text,
    TrainingRecipe,
    Unconditional,
)

Condition = int | tuple[str, ...] | str | None  # a class, labels, words, nothing
VARIANTS = 8  # texts for each recording: its labels in several orders and selections, its caption
VARIANT_STREAM = 0x7E87


class PromptError(LinnetError):
    """The model cannot be asked for that."""


def build_encoder(recipe: TrainingRecipe, statistics: Statistics, device: torch.device) -> ConditionEncoder:
    """Turns conditions into tensors for the recipe's network."""
    return ConditionEncoder(recipe.conditioning, label_names=statistics.label_names, device=device)


def texts(statistics: Statistics, *, count: int, seed: int) -> list[list[str]]:
    """For each class or recording `count` texts that describe it; the first one says everything."""
    rng = np.random.default_rng([seed, VARIANT_STREAM])
    each = zip(statistics.labels, statistics.captions, strict=True)
    return [_text_variants(labels, caption, count, rng) for labels, caption in each]


def _text_variants(labels: Sequence[str], caption: str, count: int, rng: np.random.Generator) -> list[str]:
    everything = ", ".join(labels)
    found = [everything or caption] + ([caption] if caption else [])
    while len(found) < count:
        if caption and (len(found) % 2 or not labels):
            found.append(caption)
        else:
            size = int(rng.integers(1, len(labels) + 1)) if labels else 0
            found.append(", ".join(labels[place] for place in rng.permutation(len(labels))[:size]))
    return found[:count]


def known_conditions(section: Conditioning, statistics: Statistics) -> list[Condition]:
    """The condition of each class or recording, by its number in the dataset's labels."""
    match section:
        case Unconditional():
            return [None] * len(statistics.labels)
        case ClassLabel(num_classes=room):  # classes beyond have no training example: train checks
            return [number if number < room else None for number in range(len(statistics.labels))]
        case MultiLabel():
            return list(statistics.labels)
        case Text():
            return [variants[0] for variants in texts(statistics, count=1, seed=0)]
        case _:
            assert_never(section)


def draw(section: Conditioning, statistics: Statistics, rng: np.random.Generator, size: int) -> list[Condition] | None:
    """`size` conditions as often as in the training data; None for an unconditional model."""
    if isinstance(section, Unconditional):
        return None
    known, weights = known_conditions(section, statistics), np.array(statistics.example_counts, dtype=np.float64)
    return [known[number] for number in rng.choice(len(known), size=size, p=weights / weights.sum()).tolist()]


def as_text(condition: Condition, statistics: Statistics) -> str:
    """For people."""
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
    """What a person asks for, as a condition: a class by name or number, labels with commas or bars between, words.

    Labels with commas in them are asked for alone, or with bars between.

    Raises:
        PromptError: the model takes no prompts, or knows no such class; the message names near ones.
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
    wanted, known = _folded(prompt), [_folded(name) for name in names]
    found = [number for number, name in enumerate(known) if wanted == name]  # also where it is a part of others
    found = found or [number for number, name in enumerate(known) if wanted in name]
    if len(found) == 1:
        return found[0]
    near = [names[number] for number in found[:5]] or difflib.get_close_matches(prompt, names, n=5, cutoff=0.3)
    what = "several classes" if found else "no class"
    raise PromptError(f"'{prompt}' names {what} of this model; near it are {', '.join(near) or 'none'}")


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


class TrainingConditions:
    """The conditions of training examples, dropped at times for classifier-free guidance (Ho & Salimans 2022)."""

    def __init__(self, recipe: TrainingRecipe, statistics: Statistics, device: torch.device) -> None:
        section = recipe.conditioning
        self._dropout = 0.0 if isinstance(section, Unconditional) else section.dropout
        encoder = build_encoder(recipe, statistics, device)
        self._table: Tensor | None = None  # [classes or recordings, variants, ...]
        if not isinstance(section, Unconditional):
            rows = self._variants(section, statistics, recipe.train.seed)
            flat = encoder.encode([value for row in rows for value in row])
            assert flat is not None
            self._table = flat.reshape(len(rows), -1, *flat.shape[1:])
            self._nothing = encoder.nothing(1)

    @staticmethod
    def _variants(section: Conditioning, statistics: Statistics, seed: int) -> Sequence[Sequence[Condition]]:
        if isinstance(section, Text):
            count = 2 if isinstance(section.encoder, HuggingFaceTextEncoder) else VARIANTS
            return texts(statistics, count=count, seed=seed)
        return [[condition] for condition in known_conditions(section, statistics)]

    def draw(self, labels: Tensor, generator: torch.Generator) -> Tensor | None:
        """The network's conditions for examples of these classes or recordings, int64 [B]; the same for an equal generator.

        None for an unconditional model.
        """
        if self._table is None:
            return None
        device, size = self._table.device, len(labels)
        variants = self._table.shape[1]
        variant = torch.randint(variants, (size,), generator=generator, device=device) if variants > 1 else 0
        chosen = self._table[labels, variant]
        dropped = torch.rand(size, generator=generator, device=device) < self._dropout
        return torch.where(dropped.view(-1, *[1] * (chosen.ndim - 1)), self._nothing, chosen)
