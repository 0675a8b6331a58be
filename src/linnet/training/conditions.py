"""The conditions that training examples have: texts in several variants, and now and then the null condition."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from linnet.modalities.conditions import build_encoder, full_texts, known_conditions
from linnet.modalities.statistics import Statistics
from linnet.models.conditioning import Condition
from linnet.recipe import Conditioning, HuggingFaceTextEncoder, Text, TrainingRecipe, Unconditional

TEXT_VARIANTS = 8  # of each recording: its labels in several orders and selections, its caption
FROZEN_ENCODER_TEXT_VARIANTS = 2
TEXT_VARIANT_STREAM = 0x7E87


class TrainingConditions:
    """Conditions of training examples, dropped at random for classifier-free guidance (Ho & Salimans 2022)."""

    def __init__(self, recipe: TrainingRecipe, statistics: Statistics, device: torch.device) -> None:
        section = recipe.conditioning
        self._table: Tensor | None = None  # [classes or recordings, variants, ...]
        if isinstance(section, Unconditional):
            return
        self._dropout = section.dropout
        encoder = build_encoder(recipe, statistics, device)
        rows = _condition_variants(section, statistics, recipe.train.seed)
        flat = encoder.encode([condition for row in rows for condition in row])
        assert flat is not None
        self._table = flat.reshape(len(rows), -1, *flat.shape[1:])
        self._null_condition = encoder.null_condition(1)

    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor | None:
        """Condition tensors for examples of these classes or recordings, int64 [B]; None for an unconditional model.

        All randomness is the generator's.
        """
        if self._table is None:
            return None
        device, size = self._table.device, len(labels)
        num_variants = self._table.shape[1]
        variant = torch.randint(num_variants, (size,), generator=generator, device=device) if num_variants > 1 else 0
        chosen = self._table[labels, variant]
        dropped = torch.rand(size, generator=generator, device=device) < self._dropout
        return torch.where(dropped.view(-1, *[1] * (chosen.ndim - 1)), self._null_condition, chosen)


def _condition_variants(section: Conditioning, statistics: Statistics, seed: int) -> Sequence[Sequence[Condition]]:
    if isinstance(section, Text):
        is_frozen = isinstance(section.encoder, HuggingFaceTextEncoder)
        return text_variants(statistics, count=FROZEN_ENCODER_TEXT_VARIANTS if is_frozen else TEXT_VARIANTS, seed=seed)
    return [[condition] for condition in known_conditions(section, statistics)]


def text_variants(statistics: Statistics, *, count: int, seed: int) -> list[list[str]]:
    """`count` texts for each class or recording; the first one is its full text."""
    rng = np.random.default_rng([seed, TEXT_VARIANT_STREAM])
    each = zip(full_texts(statistics), statistics.labels, statistics.captions, strict=True)
    return [_text_variants(full_text, labels, caption, count, rng) for full_text, labels, caption in each]


def _text_variants(
    full_text: str, labels: Sequence[str], caption: str, count: int, rng: np.random.Generator
) -> list[str]:
    texts = [full_text] + ([caption] if caption else [])
    while len(texts) < count:
        if caption and (len(texts) % 2 or not labels):
            texts.append(caption)
        else:
            size = int(rng.integers(1, len(labels) + 1)) if labels else 0
            texts.append(", ".join(labels[index] for index in rng.permutation(len(labels))[:size]))
    return texts[:count]
