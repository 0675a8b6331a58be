"""[conditioning]: what the network sees besides the noisy example."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from linnet.recipe.section import OpenFraction, Section


class Unconditional(Section):
    """The network sees nothing but the noisy example and its noise level."""

    kind: Literal["none"]


class ClassLabel(Section):
    """The network sees the class, dropped at random in training for classifier-free guidance (Ho & Salimans 2022)."""

    kind: Literal["class_label"]
    num_classes: PositiveInt
    dropout: OpenFraction


class MultiLabel(Section):
    """The network sees any number of labels at once."""

    kind: Literal["multi_label"]
    num_labels: PositiveInt  # columns for the labels of the dataset in alphabetical order; some may stay unused
    dropout: OpenFraction


class TrainedTextEncoder(Section):
    """A small text encoder trained with the network: hashed character n-grams, then one transformer layer."""

    kind: Literal["trained"]
    num_buckets: Annotated[int, Field(ge=2)]  # rows of the table that words and their n-grams are hashed into
    width: Annotated[int, Field(ge=8, multiple_of=8)]
    num_heads: PositiveInt
    max_words: PositiveInt

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads = {self.num_heads} does not divide width = {self.width}.")
        return self


class HuggingFaceTextEncoder(Section):
    """A frozen text encoder: its id on Hugging Face, or a local folder that holds one."""

    kind: Literal["hugging_face"]
    model: str
    revision: str
    width: PositiveInt  # of its hidden states
    max_tokens: PositiveInt


class Text(Section):
    """The network sees text: the name of a class, or the labels and the caption of a recording."""

    kind: Literal["text"]
    encoder: Annotated[TrainedTextEncoder | HuggingFaceTextEncoder, Field(discriminator="kind")]
    dropout: OpenFraction


Conditioning = Annotated[Unconditional | ClassLabel | MultiLabel | Text, Field(discriminator="kind")]
