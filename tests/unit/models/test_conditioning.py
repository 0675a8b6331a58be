"""From conditions to tensors to embeddings: known sums, and one null condition however it is given."""

import math

import pytest
import torch
from torch import Tensor, nn

from linnet.models.conditioning import Condition, ConditionEncoder, ConditionError, build_condition_embedding
from linnet.recipe import (
    ClassLabel,
    Conditioning,
    HuggingFaceTextEncoder,
    MultiLabel,
    Text,
    TrainedTextEncoder,
    Unconditional,
)

CPU = torch.device("cpu")
NONE = Unconditional(kind="none")
CLASSES = ClassLabel(kind="class_label", num_classes=5, dropout=0.1)
LABELS = MultiLabel(kind="multi_label", num_labels=4, dropout=0.1)
TRAINED = Text(
    kind="text",
    encoder=TrainedTextEncoder(kind="trained", num_buckets=50, width=8, num_heads=2, max_words=3),
    dropout=0.1,
)
FROZEN = Text(
    kind="text",
    encoder=HuggingFaceTextEncoder(kind="hugging_face", model="nowhere", revision="main", width=6, max_tokens=9),
    dropout=0.1,
)
NAMES = ["bass", "Cello", "drums"]


def embedding(section: Conditioning, dims: int = 4) -> nn.Module:
    torch.manual_seed(0)
    module = build_condition_embedding(section, dims)
    assert module is not None
    return module.double()


def encoder(section: Conditioning) -> ConditionEncoder:
    return ConditionEncoder(section, label_names=NAMES, device=CPU)


def example_condition(section: Conditioning) -> Tensor:
    """A condition of three rows, the middle one empty."""
    match section:
        case ClassLabel():
            return torch.tensor([0, 5, 4])
        case MultiLabel():
            return torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).double()
        case Text(encoder=HuggingFaceTextEncoder()):
            condition = torch.randn(3, 6, generator=torch.Generator().manual_seed(1)).double()
            condition[1] = 0
            return condition
        case _:
            found = encoder(section).encode(["slow piano", None, "rain"])
            assert found is not None
            return found


# --- embeddings -------------------------------------------------------------------------------------------------------


def test_an_unconditional_network_has_no_embedding() -> None:
    assert build_condition_embedding(NONE, 4) is None


@pytest.mark.parametrize("section", [CLASSES, LABELS, TRAINED, FROZEN])
def test_the_null_condition_is_the_same_however_it_is_given(section: Conditioning) -> None:
    module, condition = embedding(section), example_condition(section)
    like = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    found, null = module(condition, like), module(None, like)
    assert found.shape == null.shape == (3, 4)
    assert torch.equal(found[1], null[1])
    assert torch.equal(null[0], null[1])
    empty = encoder(section).null_condition(3)
    assert torch.equal(module(empty.double() if empty.is_floating_point() else empty, like), null)
    for row in (0, 2):
        assert not torch.allclose(found[row], null[row])
        torch.testing.assert_close(module(condition[row : row + 1], like[:1])[0], found[row], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("section", [CLASSES, LABELS, TRAINED, FROZEN])
def test_every_parameter_learns_and_no_gradient_is_nan(section: Conditioning) -> None:
    module = embedding(section)
    module(example_condition(section), torch.zeros(3, 1, 2, 2)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name


def test_class_label_has_a_row_for_each_class_and_one_for_none() -> None:
    """The tensor's name and shape are those of the models stored so far."""
    module = embedding(CLASSES)
    table = module.state_dict()["table.weight"]
    assert table.shape == (6, 4)
    assert torch.equal(module(torch.tensor([0, 4, 5]), torch.zeros(3, 3, 8, 8)), table[[0, 4, 5]])


def test_multi_label_adds_rows_over_the_root_of_their_number() -> None:
    module = embedding(LABELS)
    table = module.state_dict()["table.weight"]
    condition = torch.tensor([[1.0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).double()
    expected = [table[0], (table[0] + table[2]) / math.sqrt(2), table[:4].sum(dim=0) / 2, table[4]]
    torch.testing.assert_close(module(condition, condition), torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_pooled_text_goes_through_one_linear_map() -> None:
    module, condition = embedding(FROZEN), example_condition(FROZEN)
    state = module.state_dict()
    expected = condition @ state["to_out.weight"].T + state["to_out.bias"]
    expected[1] = state["no_text"]
    torch.testing.assert_close(module(condition, condition), expected, rtol=1e-12, atol=1e-12)


# --- conditions to tensors --------------------------------------------------------------------------------------------


def test_an_unconditional_model_has_no_condition() -> None:
    assert encoder(NONE).encode([None, "rain"]) is None


def test_classes_become_numbers() -> None:
    found = encoder(CLASSES).encode([0, None, 4])
    assert found is not None
    assert found.dtype == torch.int64
    assert found.tolist() == [0, 5, 4]


def test_labels_become_columns() -> None:
    found = encoder(LABELS).encode([("Cello", "bass"), (), None, ("drums", "drums")])
    assert found is not None
    assert found.dtype == torch.float32
    assert found.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]


def test_texts_become_buckets() -> None:
    found = encoder(TRAINED).encode(["slow piano", "", "?!", None])
    assert found is not None
    assert found.dtype == torch.int64
    assert found.shape[:2] == (4, 3)
    assert found.ne(0).any(dim=2).tolist() == [[True, True, False], [False] * 3, [False] * 3, [False] * 3]
    assert encoder(TRAINED).null_condition(0).shape == (0, *found.shape[1:])


@pytest.mark.parametrize(
    ("section", "condition", "message"),
    [
        (CLASSES, 5, "there is no class 5: this model knows 0 to 4"),
        (CLASSES, -1, "there is no class -1"),
        (CLASSES, "rain", "takes a class number, not 'rain'"),
        (LABELS, ("cell",), "does not know the label 'cell'; did you mean 'Cello'"),
        (LABELS, ("CELLO",), "did you mean 'Cello'"),
        (LABELS, ("zzz",), "'zzz'; it knows 3 labels, none like this"),
        (LABELS, "Cello", "takes label names, not 'Cello'"),
        (LABELS, 1, "takes label names, not 1"),
        (TRAINED, 1, "takes a text, not 1"),
        (FROZEN, ("bass",), r"takes a text, not \('bass',\)"),
    ],
)
def test_a_condition_of_another_kind_is_refused(section: Conditioning, condition: Condition, message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        encoder(section).encode([None, condition])


def test_more_labels_than_columns_are_refused() -> None:
    with pytest.raises(ConditionError, match=r"has 5 labels\. Set num_labels = 5 or more"):
        ConditionEncoder(LABELS, label_names=["a", "b", "c", "d", "e"], device=CPU)
