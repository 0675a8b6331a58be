"""A text encoder without a vocabulary file: hashed character n-grams, then one transformer layer.

A word is the mean of the vectors of itself and of its character n-grams (Bojanowski et al. 2017, section 3.2), so that
a word that training never saw still has a meaning where it saw its n-grams. The encoder is trained with the network.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from linnet.models.blocks import TokenAttention, feed_forward
from linnet.recipe import TrainedTextEncoder

NGRAMS_PER_WORD = 32  # all of a word of 11 letters; the rest of a longer word's are left out
NGRAM_SIZES = (3, 4, 5)
MLP_RATIO = 4
WORD = re.compile(r"[^\W_]+")


def tokenize(text: str, section: TrainedTextEncoder) -> list[list[int]]:
    """Bucket numbers [max_words][NGRAMS_PER_WORD] of the text's first words, from 1 to num_buckets - 1; 0 is padding.

    Case, punctuation and the way Unicode spells a letter make no difference. The hash is the same in every process.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())  # casefold may decompose
    rows = [[_bucket(ngram, section.num_buckets) for ngram in _ngrams(word)] for word in WORD.findall(plain)]
    rows = [row[:NGRAMS_PER_WORD] + [0] * (NGRAMS_PER_WORD - len(row)) for row in rows[: section.max_words]]
    return rows + [[0] * NGRAMS_PER_WORD] * (section.max_words - len(rows))


def _ngrams(word: str) -> Iterator[str]:
    """The word itself and its n-grams, each once; the marks tell a beginning or an end from a middle."""
    marked = f"<{word}>"
    grams = (marked[start : start + size] for size in NGRAM_SIZES for start in range(len(marked) - size + 1))
    yield from dict.fromkeys([marked, *grams])


def _bucket(ngram: str, num_buckets: int) -> int:
    return 1 + zlib.crc32(ngram.encode()) % (num_buckets - 1)  # Python's own hash differs from process to process


class HashedTextEncoder(nn.Module):
    """Bucket numbers [B, max_words, NGRAMS_PER_WORD] or None -> [B, dims]; a row of padding is the null condition."""

    def __init__(self, section: TrainedTextEncoder, dims: int) -> None:
        super().__init__()
        width = section.width
        self.parts = nn.EmbeddingBag(section.num_buckets, width, mode="mean", padding_idx=0)
        self.positions = nn.Parameter(torch.randn(section.max_words, width) * 0.02)
        self.norm_attention = nn.LayerNorm(width)
        self.attention = TokenAttention(width, heads=section.num_heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = feed_forward(width, MLP_RATIO * width)
        self.to_out = nn.Linear(width, dims)
        self.no_text = nn.Parameter(torch.randn(dims))

    def forward(self, condition: Tensor | None, like: Tensor) -> Tensor:
        if condition is None:
            return self.no_text.expand(len(like), -1)
        present = condition.ne(0).any(dim=2)  # [B, max_words]
        is_text = present.any(dim=1, keepdim=True)
        words = self.parts(condition.flatten(0, 1)).unflatten(0, present.shape) + self.positions
        # Where no word is present, attention would be NaN, and its gradient too, though `where` drops the value.
        words = words + self.attention(self.norm_attention(words), present | ~is_text)
        words = words + self.mlp(self.norm_mlp(words))
        weights = present.to(words.dtype)[:, :, None]
        mean = (words * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return torch.where(is_text, self.to_out(mean), self.no_text)
