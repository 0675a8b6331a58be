"""Words as means of hashed n-grams: which n-grams, which buckets, and one transformer layer against plain loops."""

import math
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linnet.models.hashed_text_encoder import NGRAMS_PER_WORD, HashedTextEncoder, tokenize
from linnet.recipe import TrainedTextEncoder

SECTION = TrainedTextEncoder(kind="trained", num_buckets=1000, width=8, num_heads=2, max_words=4)
LONG = "abcdefghijklmnopqrstuvwxyz"


def buckets(*ngrams: str) -> list[int]:
    return [zlib.crc32(ngram.encode()) % 999 + 1 for ngram in ngrams]


def test_a_word_is_itself_and_its_marked_ngrams() -> None:
    rows = tokenize("piano", SECTION)
    expected = ["<piano>", "<pi", "pia", "ian", "ano", "no>", "<pia", "pian", "iano", "ano>", "<pian", "piano", "iano>"]
    assert rows[0] == buckets(*expected) + [0] * (NGRAMS_PER_WORD - len(expected))
    assert rows[1:] == [[0] * NGRAMS_PER_WORD] * 3


def test_an_ngram_counts_once() -> None:
    assert tokenize("a", SECTION)[0] == buckets("<a>") + [0] * (NGRAMS_PER_WORD - 1)
    assert tokenize("aaaa", SECTION)[0][:6] == buckets("<aaaa>", "<aa", "aaa", "aa>", "<aaa", "aaaa")


def test_shape_is_fixed() -> None:
    for text in ("", "one", "one two three four five six", LONG):
        rows = tokenize(text, SECTION)
        assert [len(row) for row in rows] == [NGRAMS_PER_WORD] * 4
        assert all(0 <= bucket < 1000 for row in rows for bucket in row)
    assert tokenize("one two three four five", SECTION) == tokenize("one two three four", SECTION)
    assert tokenize(LONG, SECTION)[0][-1] > 0


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Hip-Hop!", "hip hop"),
        ("STRASSE", "straße"),
        ("\uff46\uff55\uff4c\uff4c \uff11", "full 1"),
        ("cafe\u0301", "café"),
        ("under_score", "under score"),
        (" \t\n... ", ""),
    ],
)
def test_case_punctuation_and_spelling_of_letters_make_no_difference(text: str, same: str) -> None:
    assert tokenize(text, SECTION) == tokenize(same, SECTION)


def test_words_differ_and_relatives_share_ngrams() -> None:
    (drums,), (drummer,), (piano,) = (tokenize(word, SECTION)[:1] for word in ("drums", "drummer", "piano"))
    shared = (set(drums) & set(drummer)) - {0}
    assert len(shared) >= 3  # <dr, dru, rum, <dru, drum, <drum
    assert len((set(drums) & set(piano)) - {0}) <= 1  # by chance


def test_another_process_makes_the_same_buckets() -> None:
    code = (
        "from linnet.models.hashed_text_encoder import tokenize; from linnet.recipe import TrainedTextEncoder as E;"
        f"print(tokenize('slow piano', E(**{SECTION.model_dump()!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tokenize("slow piano", SECTION))


def test_the_encoder_is_one_pre_norm_layer_over_words() -> None:
    """Against plain loops in float64; padding words do not count."""
    torch.manual_seed(0)
    encoder = HashedTextEncoder(SECTION, 5).double()
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}

    def dense(name: str, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = weights[f"{name}.weight"] @ vector + weights[f"{name}.bias"]
        return result

    def norm(name: str, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        normed = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
        result: NDArray[np.float64] = normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return result

    rows = tokenize("slow piano rain", SECTION)
    words = []
    for index, row in enumerate(rows[:3]):
        ngrams = [weights["parts.weight"][bucket] for bucket in row if bucket]
        words.append(sum(ngrams) / len(ngrams) + weights["positions"][index])
    projected = [np.split(dense("attention.to_qkv", norm("norm_attention", word)), 3) for word in words]
    for index in range(3):
        mixed = np.zeros(8)
        for head in (slice(0, 4), slice(4, 8)):
            scores = [math.exp(projected[index][0][head] @ key[head] / 2) for _, key, _ in projected]
            mixed[head] = sum(s * p[2][head] for s, p in zip(scores, projected, strict=True)) / sum(scores)
        words[index] = words[index] + dense("attention.to_out", mixed)
    for index in range(3):
        hidden = dense("mlp.0", norm("norm_mlp", words[index]))
        hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        words[index] = words[index] + dense("mlp.2", hidden)
    found = encoder(torch.tensor([rows]), torch.zeros(1)).detach().numpy()[0]
    np.testing.assert_allclose(found, dense("to_out", sum(words) / 3), rtol=1e-10, atol=1e-10)


def test_the_order_of_words_matters() -> None:
    torch.manual_seed(0)
    encoder = HashedTextEncoder(SECTION, 5).double()
    one, other = (encoder(torch.tensor([tokenize(t, SECTION)]), torch.zeros(1)) for t in ("slow piano", "piano slow"))
    assert not torch.allclose(one, other)


def _check_mask(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
    """Some backends of attention give zeros where no token is visible, so the test cannot wait for a NaN."""
    assert bool(inputs[1].any(dim=1).all())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_empty_texts_are_finite_forwards_and_backwards(precision: torch.dtype) -> None:
    """Attention over no word at all would be NaN, and so would every gradient."""
    torch.manual_seed(0)
    encoder = HashedTextEncoder(SECTION, 5)
    condition = torch.tensor([tokenize(text, SECTION) for text in ("", "piano", "")])
    with torch.autocast("cpu", dtype=precision, enabled=precision is torch.bfloat16):
        encoder.attention.register_forward_pre_hook(_check_mask)
        found = encoder(condition, condition)
    assert torch.equal(found[0], encoder.no_text)
    found.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
