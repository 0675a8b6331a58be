"""What a network is told besides the noisy example: from people's values to tensors, and from tensors to embeddings.

| kind         | condition tensor                             | nothing given  |
|--------------|----------------------------------------------|----------------|
| class_label  | int64 [B], 0..num_classes - 1                | num_classes    |
| multi_label  | float32 [B, num_labels], 1 for each label    | a row of zeros |
| text trained | int64 [B, max_words, parts], bucket numbers  | a row of zeros |
| hugging_face | float32 [B, width], pooled hidden states     | a row of zeros |

A row that says nothing and None for the whole batch are the same to the network: what classifier-free guidance (Ho &
Salimans 2022) calls the null token.
"""

import difflib
from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from linnet.errors import LinnetError
from linnet.models.hashed_text_encoder import PARTS_PER_WORD, TextEncoder, tokenize
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

Value = int | tuple[str, ...] | str | None


class ConditionError(LinnetError):
    """A value cannot be told to this model."""


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
            return TextEncoder(section, dims)
        case HuggingFaceTextEncoder():
            return PooledTextEmbedding(section.width, dims)
        case _:
            assert_never(section)


class LabelEmbedding(nn.Module):
    """int64 [B] or None -> [B, dims]; one more row than there are classes, for "no class"."""

    def __init__(self, num_classes: int, dims: int) -> None:
        super().__init__()
        self.no_class = num_classes
        self.table = nn.Embedding(num_classes + 1, dims)

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        if condition is None:
            condition = torch.full((len(like),), self.no_class, device=like.device)
        embedded: Tensor = self.table(condition)
        return embedded


class MultiLabelEmbedding(nn.Module):
    """Multi-hot [B, num_labels] or None -> [B, dims]: the labels' rows added, over the root of their number.

    The root keeps the length of a sum of independent rows. The table's last row stands for "no label".
    """

    def __init__(self, num_labels: int, dims: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_labels + 1, dims)

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        no_label = self.table.weight[-1]
        if condition is None:
            return no_label.expand(len(like), -1)
        count = condition.sum(dim=1, keepdim=True)
        return torch.where(count > 0, condition @ self.table.weight[:-1] * count.clamp(min=1).rsqrt(), no_label)


class PooledTextEmbedding(nn.Module):
    """Pooled hidden states of a frozen encoder [B, width] or None -> [B, dims]; zeros are a learnt "no text"."""

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        self.to_out = nn.Linear(width, dims)
        self.no_text = nn.Parameter(torch.randn(dims))

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        if condition is None:
            return self.no_text.expand(len(like), -1)
        return torch.where(condition.ne(0).any(dim=1, keepdim=True), self.to_out(condition), self.no_text)


class ConditionEncoder:
    """Turns people's values into the tensors that a network with this section takes, on `device`.

    `label_names` are the data set's labels in the order of the multi-hot columns; only "multi_label" reads them.
    """

    def __init__(self, section: Conditioning, *, label_names: Sequence[str], device: torch.device) -> None:
        self._section, self._device = section, device
        self._columns = {name: column for column, name in enumerate(label_names)}
        if isinstance(section, MultiLabel) and len(label_names) > section.num_labels:
            raise ConditionError(
                f"[conditioning] num_labels = {section.num_labels}, but the data set has {len(label_names)} labels. "
                f"Set num_labels = {len(label_names)} or more."
            )
        self._frozen: FrozenTextEncoder | None = None
        if isinstance(section, Text) and isinstance(section.encoder, HuggingFaceTextEncoder):
            self._frozen = FrozenTextEncoder(section.encoder, device)

    def encode(self, values: Sequence[Value]) -> Tensor | None:
        """The condition of `len(values)` examples; None for an unconditional model, which is told nothing.

        A value is a class number, a tuple of label names, or a text, as the section's kind says; None, no labels and a
        text without words are "nothing given".

        Raises:
            ConditionError: a value of another type, a class that is not there, a label that is unknown.
            TextEncoderError: the frozen encoder cannot be had.
        """
        match self._section:
            case Unconditional():
                return None
            case ClassLabel():
                classes = [self._class_of(value, self._section.num_classes) for value in values]
                return torch.tensor(classes, dtype=torch.int64, device=self._device)
            case MultiLabel():
                hot = torch.zeros(len(values), self._section.num_labels)
                for row, value in enumerate(values):
                    hot[row, self._columns_of(value)] = 1
                return hot.to(self._device)
            case Text():
                return self._encode_texts([_text_of(value) for value in values], self._section)
            case _:
                assert_never(self._section)

    def nothing(self, count: int) -> Tensor:
        """The condition of `count` examples that are told nothing; not for unconditional models."""
        encoded = self.encode([None] * count)
        assert encoded is not None, "an unconditional model has no condition, not even an empty one"
        return encoded

    def _encode_texts(self, texts: list[str], section: Text) -> Tensor:
        match section.encoder:
            case HuggingFaceTextEncoder():
                assert self._frozen is not None
                return self._frozen.encode(texts)
            case TrainedTextEncoder():
                rows = [tokenize(text, section.encoder) for text in texts]
                shape = (len(texts), section.encoder.max_words, PARTS_PER_WORD)  # also where there are no texts
                return torch.tensor(rows, dtype=torch.int64, device=self._device).reshape(shape)
            case _:
                assert_never(section.encoder)

    def _class_of(self, value: Value, num_classes: int) -> int:
        match value:
            case None:
                return num_classes
            case int() if 0 <= value < num_classes:
                return value
            case int():
                raise ConditionError(f"there is no class {value}: this model knows 0 to {num_classes - 1}")
            case _:
                raise _of_another_type(value, "a class number")

    def _columns_of(self, value: Value) -> list[int]:
        match value:
            case None:
                return []
            case tuple():
                return [self._column(name) for name in value]
            case _:
                raise _of_another_type(value, "label names")

    def _column(self, name: str) -> int:
        if name in self._columns:
            return self._columns[name]
        folded = {known.casefold(): known for known in self._columns}
        close = [f"'{folded[match]}'" for match in difflib.get_close_matches(name.casefold(), folded)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"it knows {len(folded)} labels, none like this."
        raise ConditionError(f"this model does not know the label '{name}'; {hint}")


def _text_of(value: Value) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            raise _of_another_type(value, "a text")


def _of_another_type(value: Value, wanted: str) -> ConditionError:
    return ConditionError(f"this model is told {wanted}, not {value!r}")
