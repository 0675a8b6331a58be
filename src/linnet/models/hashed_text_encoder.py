"""Text without a vocabulary file: words as sums of hashed parts, then one transformer layer trained with the network.

A word is the mean of the vectors of itself and of its character n-grams (Bojanowski et al. 2017, section 3.2), so that
a word never seen in training still has a meaning where its parts were seen.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from linnet.models.blocks import TokenAttention, feed_forward
from linnet.recipe import TrainedTextEncoder

PARTS_PER_WORD = 32  # all parts of a word of 11 letters; what a longer word has beyond is left out
NGRAMS = (3, 4, 5)
MLP_RATIO = 4
WORD = re.compile(r"[^\W_]+")


def tokenize(text: str, section: TrainedTextEncoder) -> list[list[int]]:
    """[max_words][PARTS_PER_WORD] bucket numbers 1..num_buckets - 1 of the text's first words; 0 is padding.

    Case, punctuation and how Unicode spells a letter make no difference. The hash is the same in every process.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())  # casefold may decompose
    rows = [[_bucket(part, section.num_buckets) for part in _parts(word)] for word in WORD.findall(plain)]
    rows = [row[:PARTS_PER_WORD] + [0] * (PARTS_PER_WORD - len(row)) for row in rows[: section.max_words]]
    return rows + [[0] * PARTS_PER_WORD] * (section.max_words - len(rows))


def _parts(word: str) -> Iterator[str]:
    """The word itself and its n-grams, each once; the marks tell a beginning or an end from a middle."""
    marked = f"<{word}>"
    grams = (marked[start : start + size] for size in NGRAMS for start in range(len(marked) - size + 1))
    yield from dict.fromkeys([marked, *grams])


def _bucket(part: str, num_buckets: int) -> int:
    return 1 + zlib.crc32(part.encode()) % (num_buckets - 1)  # Python's own hash differs from process to process


class TextEncoder(nn.Module):
    """Bucket numbers [B, max_words, PARTS_PER_WORD] or None -> [B, dims]; all padding is a learnt "no text"."""

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
        # Without a word to look at, attention may be NaN, and its gradient too, though `where` drops the value.
        words = words + self.attention(self.norm_attention(words), present | ~is_text)
        words = words + self.mlp(self.norm_mlp(words))
        counted = present.to(words.dtype)[:, :, None]
        mean = (words * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        return torch.where(is_text, self.to_out(mean), self.no_text)
