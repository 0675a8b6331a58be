"""The shared layers against closed forms and against plain loops in float64."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from linnet.models.blocks import (
    Dropout,
    SelfAttention,
    SinusoidalEmbedding,
    TokenAttention,
    geometric_speeds,
    timestep_speeds,
)

Array = NDArray[np.float64]


def randomise(module: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)


def array(value: torch.Tensor) -> Array:
    return value.detach().double().numpy()


def group_norm(x: Array, groups: int) -> Array:
    """Of one image [C, H, W]."""
    parts = x.reshape(groups, -1)
    normed = (parts - parts.mean(axis=1, keepdims=True)) / np.sqrt(parts.var(axis=1, keepdims=True) + 1e-5)
    result: Array = normed.reshape(x.shape)
    return result


@pytest.mark.parametrize(
    ("channels", "heads", "head_channels", "groups", "affine"),
    [(16, 4, 4, 8, True), (16, 2, 16, 4, False), (8, 1, 3, 8, True)],
)
def test_self_attention_is_softmax_of_scaled_dot_products(
    channels: int, heads: int, head_channels: int, groups: int, affine: bool
) -> None:
    attention = SelfAttention(
        channels, heads=heads, head_channels=head_channels, groups=groups, affine_norm=affine
    ).double()
    randomise(attention)
    x = torch.randn(2, channels, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = array(attention(x))
    w_qkv, b_qkv = array(attention.to_qkv.weight)[:, :, 0, 0], array(attention.to_qkv.bias)  # type: ignore[arg-type]
    w_out, b_out = array(attention.to_out.weight)[:, :, 0, 0], array(attention.to_out.bias)  # type: ignore[arg-type]
    for image, output in zip(array(x), found, strict=True):
        normed = group_norm(image, groups).reshape(channels, -1)
        if affine:
            normed = normed * array(attention.norm.weight)[:, None] + array(attention.norm.bias)[:, None]
        queries, keys, values = np.split(w_qkv @ normed + b_qkv[:, None], 3)  # each [heads * head_channels, positions]
        mixed = np.empty_like(values)
        for head in range(heads):
            rows = slice(head * head_channels, (head + 1) * head_channels)
            scores = queries[rows].T @ keys[rows] / math.sqrt(head_channels)
            chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            mixed[rows] = (chances @ values[rows].T).T
        expected = image + (w_out @ mixed + b_out[:, None]).reshape(image.shape)
        np.testing.assert_allclose(output, expected, rtol=1e-10, atol=1e-10)


def test_self_attention_moves_with_its_positions() -> None:
    """No position enters: a permuted image gives the permuted output."""
    attention = SelfAttention(16, heads=2, head_channels=8, groups=8, affine_norm=True).double()
    randomise(attention)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 16, 4, 4, generator=generator, dtype=torch.float64)
    order = torch.randperm(16, generator=generator)
    permuted = x.flatten(2)[:, :, order].reshape(x.shape)
    torch.testing.assert_close(attention(permuted).flatten(2), attention(x).flatten(2)[:, :, order])


def test_geometric_speeds_run_from_lowest_to_highest() -> None:
    """f_k = lowest (highest / lowest)^(k / (n - 1)): Beres' 16 frequencies from 1 to 1,000."""
    speeds = geometric_speeds(32, lowest_hz=1.0, highest_hz=1000.0)
    expected = [2 * math.pi * 1000 ** (k / 15) for k in range(16)]
    assert speeds.tolist() == pytest.approx(expected, rel=1e-12)


def test_sinusoidal_embedding_is_sines_then_cosines() -> None:
    embedding = SinusoidalEmbedding(torch.tensor([1.0, 2.0, math.pi]))
    values = [0.0, 0.25, 0.5, 1.0]
    expected = [[f(value * speed) for f in (math.sin, math.cos) for speed in (1, 2, math.pi)] for value in values]
    torch.testing.assert_close(embedding(torch.tensor(values)), torch.tensor(expected))


def test_sinusoidal_embedding_keeps_float32_angles_for_half_precision_values() -> None:
    """2 pi 1000 x in bfloat16 has errors of many turns: the product must be taken in float32."""
    embedding = SinusoidalEmbedding(geometric_speeds(32, lowest_hz=1.0, highest_hz=1000.0)).to(torch.float32)
    half = torch.tensor([0.5, 0.75], dtype=torch.bfloat16)  # both exact
    found = embedding(half)
    assert found.dtype == torch.float32
    assert torch.equal(found, embedding(half.float()))
    expected = [math.sin(2 * math.pi * 1000 ** (k / 15) * 0.75) for k in range(16)]
    torch.testing.assert_close(found[1, :16], torch.tensor(expected), rtol=0, atol=1e-3)


def test_sinusoidal_embedding_has_nothing_to_save_or_train() -> None:
    embedding = SinusoidalEmbedding(torch.ones(3))
    assert not embedding.state_dict()
    assert not list(embedding.parameters())


def test_timestep_speeds_fall_from_one_to_a_ten_thousandth() -> None:
    assert timestep_speeds(8).tolist() == pytest.approx([1, 1e-1, 1e-2, 1e-3], rel=1e-6)
    assert timestep_speeds(8).dtype == torch.float32, "as the published networks compute them"


def test_token_attention_is_softmax_of_scaled_dot_products_over_the_seen_tokens() -> None:
    attention = TokenAttention(12, heads=3).double()
    randomise(attention)
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False, False], [True, False, True, True, True]])
    found = array(attention(x, mask))
    w_qkv, b_qkv = array(attention.to_qkv.weight), array(attention.to_qkv.bias)
    w_out, b_out = array(attention.to_out.weight), array(attention.to_out.bias)
    for tokens, visible, output in zip(array(x), mask.numpy(), found, strict=True):
        queries, keys, values = np.split(tokens @ w_qkv.T + b_qkv, 3, axis=1)
        mixed = np.empty_like(tokens)
        for head in range(3):
            columns = slice(head * 4, head * 4 + 4)
            weights = np.exp(queries[:, columns] @ keys[:, columns].T / 2) * visible
            mixed[:, columns] = weights / weights.sum(axis=1, keepdims=True) @ values[:, columns]
        np.testing.assert_allclose(output, mixed @ w_out.T + b_out, rtol=1e-10, atol=1e-10)
    everywhere = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(attention(x, None), attention(x, everywhere), rtol=1e-12, atol=1e-12)


def test_dropout_masks_of_two_parts_are_the_halves_of_one() -> None:
    x = torch.ones(8, 5, 3)
    whole, first, second = (Dropout(0.4) for _ in range(3))
    first.num_parts, second.num_parts, second.part = 2, 2, 1
    results = []
    for layer, rows in ((whole, slice(0, 8)), (first, slice(0, 4)), (second, slice(4, 8))):
        torch.manual_seed(7)
        results.append(layer(x[rows]))
    assert torch.equal(results[0], torch.cat(results[1:]))
    assert set(results[0].unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.6)}
    assert torch.equal(whole.eval()(x), x)
