"""Residual blocks and the frequency layer: what they start as, what they learn from, what they keep apart."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.models.unet_blocks import Resample, ResidualBlock, TDFLayer, resampled
from linnet.recipe import TDF, NoFrequencyLayer, UNet

D, GROUPS = 12, 4


def settings(injection: Literal["shift", "scale_shift"], *, tdf: bool) -> UNet:
    return UNet(
        kind="unet",
        channels=16,
        channel_multipliers=(1, 1),
        blocks_per_level=1,
        attention_heads_by_level=(0, 0),
        middle_attention_heads=1,
        norm_groups=GROUPS,
        timestep_injection=injection,
        resampling="biggan",
        frequency_layer=TDF(kind="tdf", bottleneck=2, min_units=3) if tdf else NoFrequencyLayer(kind="none"),
        dropout=0.0,
    )


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tdf_layer(*, frequencies: int = 6, min_units: int = 3) -> TDFLayer:
    section = TDF(kind="tdf", bottleneck=2, min_units=min_units)
    return TDFLayer(section, 8, frequencies=frequencies, groups=GROUPS).double()


def random_expand(layer: TDFLayer) -> TDFLayer:
    with torch.no_grad():
        layer.expand.weight.copy_(numbers(*layer.expand.weight.shape, seed=9))
    return layer


# --- residual blocks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resample", "side"), [("none", 6), ("down", 3), ("up", 12)])
@pytest.mark.parametrize("injection", ["shift", "scale_shift"])
@pytest.mark.parametrize("tdf", [False, True])
def test_a_block_starts_as_its_resampling(
    resample: Resample, side: int, injection: Literal["shift", "scale_shift"], tdf: bool
) -> None:
    block = ResidualBlock(
        8, 8, settings(injection, tdf=tdf), embedding_dims=D, frequencies=side, resample=resample
    ).double()
    x = numbers(2, 8, 6, 6)
    found = block(x, numbers(2, D))
    assert found.shape == (2, 8, side, side)
    assert torch.equal(found, resampled(x, resample))


def test_the_frequency_layer_comes_last() -> None:
    plain = ResidualBlock(8, 16, settings("scale_shift", tdf=False), embedding_dims=D, frequencies=6).double()
    whole = ResidualBlock(8, 16, settings("scale_shift", tdf=True), embedding_dims=D, frequencies=6).double()
    torch.nn.init.normal_(plain.conv_out.weight)
    whole.load_state_dict(plain.state_dict(), strict=False)
    layer = whole.frequency_layer
    assert isinstance(layer, TDFLayer)
    random_expand(layer)
    x, embedding = numbers(2, 8, 6, 5), numbers(2, D)
    assert torch.equal(whole(x, embedding), layer(plain(x, embedding)))


def test_resampling_averages_squares_and_repeats_pixels() -> None:
    x = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    assert resampled(x, "down").tolist() == [[[[4.0]]]]
    assert resampled(x, "up")[0, 0].tolist() == [[1, 1, 3, 3], [1, 1, 3, 3], [5, 5, 7, 7], [5, 5, 7, 7]]
    assert resampled(x, "none") is x


def test_scale_shift_survives_where_the_norm_would_take_a_shift_away() -> None:
    """A constant added before a norm of one channel a group vanishes; scale and shift after the norm do not."""
    block = ResidualBlock(GROUPS, GROUPS, settings("scale_shift", tdf=False), embedding_dims=D, frequencies=4).double()
    torch.nn.init.normal_(block.conv_out.weight)
    x = numbers(1, GROUPS, 4, 4)
    first, second = block(x, numbers(1, D, seed=1)), block(x, numbers(1, D, seed=2))
    assert float((first - second).detach().abs().min()) > 0


# --- the frequency layer ----------------------------------------------------------------------------------------------


def test_tdf_is_x_plus_w2_relu_norm_w1_x() -> None:
    layer = random_expand(tdf_layer())
    x = numbers(2, 8, 6, 5)
    w1, w2 = layer.squeeze.weight.detach().numpy(), layer.expand.weight.detach().numpy()
    assert w1.shape == (3, 6)
    assert w2.shape == (6, 3)
    for example, output in zip(x.numpy(), layer(x).detach().numpy(), strict=True):
        hidden = np.einsum("hf,cft->cht", w1, example)
        for group in range(GROUPS):
            channels = hidden[2 * group : 2 * group + 2]
            channels[:] = (channels - channels.mean()) / np.sqrt(channels.var() + 1e-5)
        expected = example + np.einsum("fh,cht->cft", w2, np.maximum(hidden, 0))
        np.testing.assert_allclose(output, expected, rtol=1e-10, atol=1e-10)


def test_tdf_starts_as_the_identity_and_learns() -> None:
    layer, x = tdf_layer(), numbers(2, 8, 6, 5)
    expected = numbers(2, 8, 6, 5, seed=1)
    assert torch.equal(layer(x), x)
    losses = []
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(3):
        loss = (layer(x) - expected).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert layer.expand.weight.grad is not None
        assert float(layer.expand.weight.grad.abs().min()) > 0
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    assert layer.squeeze.weight.grad is not None
    assert float(layer.squeeze.weight.grad.abs().max()) > 0  # as soon as W2 has moved


def test_tdf_hidden_units_have_a_floor_and_there_is_no_other_parameter() -> None:
    sizes = {
        frequencies: tdf_layer(frequencies=frequencies, min_units=5).squeeze.weight.shape for frequencies in (4, 16)
    }
    assert sizes == {4: (5, 4), 16: (8, 16)}
    assert set(tdf_layer().state_dict()) == {"squeeze.weight", "expand.weight"}


def test_tdf_takes_any_number_of_frames_and_is_shared_over_them() -> None:
    layer = random_expand(tdf_layer())
    x = numbers(1, 8, 6, 4)
    twice = layer(torch.cat([x, x], dim=-1))  # the norm's statistics stay the same
    torch.testing.assert_close(twice, torch.cat([layer(x), layer(x)], dim=-1), rtol=1e-12, atol=1e-12)


def test_tdf_keeps_examples_apart() -> None:
    """Batch norm would mix the noise levels of a batch."""
    layer = random_expand(tdf_layer()).train()
    x = torch.cat([numbers(1, 8, 6, 4), 100 * numbers(1, 8, 6, 4, seed=1)])
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]), rtol=1e-12, atol=1e-12)
