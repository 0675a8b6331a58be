"""Conditioning: from what people say to condition tensors, and from condition tensors to embeddings.

| kind         | condition tensor                             | null condition |
|--------------|----------------------------------------------|----------------|
| class_label  | int64 [B], 0..num_classes - 1                | num_classes    |
| multi_label  | float32 [B, num_labels], 1 for each label    | a row of zeros |
| text trained | int64 [B, max_words, ngrams], buckets        | a row of zeros |
| hugging_face | float32 [B, width], pooled hidden states     | a row of zeros |

To a network, None for the whole batch is the same as a null condition in every row: the null token of classifier-free
guidance (Ho & Salimans 2022).
"""

import difflib
from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from linnet.errors import LinnetError
from linnet.models.hashed_text_encoder import NGRAMS_PER_WORD, HashedTextEncoder, tokenize
from linnet.models.hf_text_encoder import FrozenTextEncoder
from linnet.recipe import (
    ClassLabel,
    Conditioning,
    HuggingFaceTextEncoder,
    MultiLabel,
    Text,
    TrainedTextEncoder,
    Unconditional,
)

Condition = int | tuple[str, ...] | str | None  # a class number, label names, a text, or the null condition


class ConditionError(LinnetError):
    """A model does not take this condition."""


def build_condition_embedding(section: Conditioning, dims: int) -> nn.Module | None:
    """The module that maps (condition or None, like=[B, ...]) to [B, dims]; None for an unconditional network."""
    match section:
        case Unconditional():
            return None
        case ClassLabel():
            return LabelEmbedding(section.num_classes, dims)
        case MultiLabel():
            return MultiLabelEmbedding(section.num_labels, dims)
        case Text():
            return _build_text_embedding(section.encoder, dims)
        case _:
            assert_never(section)


def _build_text_embedding(section: TrainedTextEncoder | HuggingFaceTextEncoder, dims: int) -> nn.Module:
    match section:
        case TrainedTextEncoder():
            return HashedTextEncoder(section, dims)
        case HuggingFaceTextEncoder():
            return PooledTextEmbedding(section.width, dims)
        case _:
            assert_never(section)


class LabelEmbedding(nn.Module):
    """int64 [B] or None -> [B, dims]; the last row of the table is the null condition's."""

    def __init__(self, num_classes: int, dims: int) -> None:
        super().__init__()
        self.null_class = num_classes
        self.table = nn.Embedding(num_classes + 1, dims)

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        if condition is None:
            condition = torch.full((len(like),), self.null_class, device=like.device)
        embedded: Tensor = self.table(condition)
        return embedded


class MultiLabelEmbedding(nn.Module):
    """Multi-hot [B, num_labels] or None -> [B, dims]: the sum of the labels' rows over the root of their number.

    The root keeps the length of a sum of independent rows. The last row of the table is the null condition's.
    """

    def __init__(self, num_labels: int, dims: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_labels + 1, dims)

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        null_row = self.table.weight[-1]
        if condition is None:
            return null_row.expand(len(like), -1)
        count = condition.sum(dim=1, keepdim=True)
        return torch.where(count > 0, condition @ self.table.weight[:-1] * count.clamp(min=1).rsqrt(), null_row)


class PooledTextEmbedding(nn.Module):
    """Pooled hidden states of a frozen encoder [B, width] or None -> [B, dims]; the null embedding is learnt."""

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        self.to_out = nn.Linear(width, dims)
        self.no_text = nn.Parameter(torch.randn(dims))

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        if condition is None:
            return self.no_text.expand(len(like), -1)
        return torch.where(condition.ne(0).any(dim=1, keepdim=True), self.to_out(condition), self.no_text)


class ConditionEncoder:
    """Turns conditions into the tensors that a network with this [conditioning] takes, on `device`.

    `label_names` are the labels of the dataset in the order of the multi-hot columns; only "multi_label" reads them.
    """

    def __init__(self, section: Conditioning, *, label_names: Sequence[str], device: torch.device) -> None:
        self._section, self._device = section, device
        self._columns = {name: column for column, name in enumerate(label_names)}
        if isinstance(section, MultiLabel) and len(label_names) > section.num_labels:
            raise ConditionError(
                f"[conditioning] num_labels = {section.num_labels}, but the dataset has {len(label_names)} labels. "
                f"Set num_labels = {len(label_names)} or more."
            )
        self._frozen: FrozenTextEncoder | None = None
        if isinstance(section, Text) and isinstance(section.encoder, HuggingFaceTextEncoder):
            self._frozen = FrozenTextEncoder(section.encoder, device)

    def encode(self, conditions: Sequence[Condition]) -> Tensor | None:
        """One row for each condition; None for an unconditional model.

        A condition is a class number, a tuple of label names, or a text, as the section's kind says. None, an empty
        tuple and a text without words are the null condition.

        Raises:
            ConditionError: a condition of another type, an unknown class or an unknown label.
            TextEncoderError: the frozen text encoder cannot be loaded.
        """
        match self._section:
            case Unconditional():
                return None
            case ClassLabel():
                classes = [self._class_of(condition, self._section.num_classes) for condition in conditions]
                return torch.tensor(classes, dtype=torch.int64, device=self._device)
            case MultiLabel():
                hot = torch.zeros(len(conditions), self._section.num_labels)
                for row, condition in enumerate(conditions):
                    hot[row, self._columns_of(condition)] = 1
                return hot.to(self._device)
            case Text():
                return self._encode_texts([_text_of(condition) for condition in conditions], self._section)
            case _:
                assert_never(self._section)

    def null_condition(self, count: int) -> Tensor:
        """The null condition of `count` examples; the model must not be unconditional."""
        encoded = self.encode([None] * count)
        assert encoded is not None, "an unconditional model has no conditions, not even a null one"
        return encoded

    def _encode_texts(self, texts: list[str], section: Text) -> Tensor:
        match section.encoder:
            case HuggingFaceTextEncoder():
                assert self._frozen is not None
                return self._frozen.encode(texts)
            case TrainedTextEncoder():
                rows = [tokenize(text, section.encoder) for text in texts]
                shape = (len(texts), section.encoder.max_words, NGRAMS_PER_WORD)  # also where there are no texts
                return torch.tensor(rows, dtype=torch.int64, device=self._device).reshape(shape)
            case _:
                assert_never(section.encoder)

    def _class_of(self, condition: Condition, num_classes: int) -> int:
        match condition:
            case None:
                return num_classes
            case int() if 0 <= condition < num_classes:
                return condition
            case int():
                raise ConditionError(f"there is no class {condition}: this model knows 0 to {num_classes - 1}")
            case _:
                raise _wrong_type(condition, "a class number")

    def _columns_of(self, condition: Condition) -> list[int]:
        match condition:
            case None:
                return []
            case tuple():
                if unknown := unknown_labels(condition, list(self._columns)):
                    raise ConditionError(unknown)
                return [self._columns[name] for name in condition]
            case _:
                raise _wrong_type(condition, "label names")


def unknown_labels(labels: Sequence[str], known: Sequence[str]) -> str:
    """Which of `labels` are none of `known`, each with those that are spelt alike; "" where all are known."""
    folded = {name.casefold(): name for name in known}
    found = []
    for label in dict.fromkeys(label for label in labels if label not in known):
        close = [f"'{folded[match]}'" for match in difflib.get_close_matches(label.casefold(), folded)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"it knows {len(folded)} labels, none like this."
        found.append(f"this model does not know the label '{label}'; {hint}")
    return " ".join(found)


def _text_of(condition: Condition) -> str:
    match condition:
        case None:
            return ""
        case str():
            return condition
        case _:
            raise _wrong_type(condition, "a text")


def _wrong_type(condition: Condition, expected: str) -> ConditionError:
    return ConditionError(f"this model takes {expected}, not {condition!r}")
