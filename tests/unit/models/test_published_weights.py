"""Given the same weights, our U-Net computes what the published one computes; see support/guided_diffusion.py."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from linnet.models.published_weights import AttentionOrder, PublishedWeightsError, from_guided_diffusion
from linnet.models.unet import UNet
from linnet.recipe import TDF, ClassLabel, Unconditional
from linnet.recipe import UNet as Settings
from support.guided_diffusion import Published, random_weights, run

NET = Published(
    in_channels=2,
    out_channels=2,
    model_channels=64,
    channel_mult=(1, 1, 2),
    num_res_blocks=1,
    attention_resolutions=(2,),
    num_heads=4,
    use_scale_shift_norm=True,
    resblock_updown=True,
    use_new_attention_order=False,
)
TIMESTEPS = torch.tensor([0.0, 999.0])
ORDERS: list[AttentionOrder] = ["legacy", "new"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers this small are ten times slower when their threads wait for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(net: Published) -> Settings:
    heads = tuple(
        net.num_heads if 2**level in net.attention_resolutions else 0 for level in range(len(net.channel_mult))
    )
    return Settings(
        kind="unet",
        channels=net.model_channels,
        channel_multipliers=net.channel_mult,
        blocks_per_level=net.num_res_blocks,
        attention_heads_by_level=heads,
        middle_attention_heads=net.num_heads,
        norm_groups=32,
        timestep_injection="scale_shift" if net.use_scale_shift_norm else "shift",
        resampling="biggan" if net.resblock_updown else "conv",
        frequency_layer={"kind": "none"},  # type: ignore[arg-type]
        dropout=0.1,
    )


def order(net: Published) -> AttentionOrder:
    return "new" if net.use_new_attention_order else "legacy"


def converted(net: Published, weights: dict[str, Tensor]) -> UNet:
    conditioning = (
        ClassLabel(kind="class_label", num_classes=net.num_classes, dropout=0.0)
        if net.num_classes
        else Unconditional(kind="none")
    )
    ours = UNet(settings(net), shape=(net.in_channels, 8, 8), conditioning=conditioning).double().eval()
    ours.load_state_dict(from_guided_diffusion(weights, settings(net), attention_order=order(net)))
    return ours


def examples(net: Published, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, net.in_channels, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("updown", [False, True])
@pytest.mark.parametrize("scale_shift", [False, True])
@pytest.mark.parametrize("new_order", [False, True])
def test_the_published_network_and_ours_compute_the_same(updown: bool, scale_shift: bool, new_order: bool) -> None:
    net = dataclasses.replace(
        NET, resblock_updown=updown, use_scale_shift_norm=scale_shift, use_new_attention_order=new_order
    )
    weights = random_weights(net, seed=0)
    ours = converted(net, weights)
    for height, width in ((8, 8), (4, 12)):
        x = examples(net, height, width)
        expected = run(net, weights, x, TIMESTEPS)
        with torch.inference_mode():
            found = ours(x, TIMESTEPS, None)
        assert float(expected.std()) > 0.1
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_two_blocks_a_level_and_a_wide_first_level() -> None:
    """The published stem and head have the width of the first level."""
    net = dataclasses.replace(NET, channel_mult=(2, 1), num_res_blocks=2, attention_resolutions=(1, 2))
    weights = random_weights(net, seed=2)
    x = examples(net, 4, 4)
    with torch.inference_mode():
        found = converted(net, weights)(x, TIMESTEPS, None)
    torch.testing.assert_close(found, run(net, weights, x, TIMESTEPS), rtol=1e-10, atol=1e-10)


def test_classes_keep_their_rows_and_the_null_row_is_zero() -> None:
    net = dataclasses.replace(NET, num_classes=3)
    weights = random_weights(net, seed=3)
    ours, x, labels = converted(net, weights), examples(net, 4, 4), torch.tensor([2, 0])
    with torch.inference_mode():
        expected = run(net, weights, x, TIMESTEPS, labels)
        torch.testing.assert_close(ours(x, TIMESTEPS, labels), expected, rtol=1e-10, atol=1e-10)
        without = run(net, weights, x, TIMESTEPS)
        torch.testing.assert_close(ours(x, TIMESTEPS, None), without, rtol=1e-10, atol=1e-10)
    assert float((expected - without).abs().max()) > 0.1


def test_of_learnt_variances_the_prediction_is_kept() -> None:
    net = dataclasses.replace(NET, out_channels=4)
    weights = random_weights(net, seed=4)
    x = examples(net, 4, 4)
    with torch.inference_mode():
        found = converted(net, weights)(x, TIMESTEPS, None)
    torch.testing.assert_close(found, run(net, weights, x, TIMESTEPS)[:, :2], rtol=1e-10, atol=1e-10)


def test_single_precision_agrees_to_single_precision() -> None:
    weights = random_weights(NET, seed=5)
    expected = run(NET, weights, examples(NET, 8, 8), TIMESTEPS)
    with torch.inference_mode():
        found = converted(NET, weights).float()(examples(NET, 8, 8).float(), TIMESTEPS, None)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("attention_order", ORDERS)
def test_the_attention_order_matters(attention_order: AttentionOrder) -> None:
    """A checkpoint read in the other order loads without complaint and computes something else."""
    weights = random_weights(NET, seed=6)
    names = [name for name in weights if name.endswith("qkv.weight")]
    ours = from_guided_diffusion(weights, settings(NET), attention_order=attention_order)
    assert len(names) == 4  # one down, two up, one in the middle
    same = torch.equal(ours["middle.0.attention.to_qkv.weight"][..., 0], weights["middle_block.1.qkv.weight"])
    assert same == (attention_order == "new")


def test_missing_and_unexpected_tensors_are_named() -> None:
    weights = random_weights(NET, seed=7)
    bias = weights.pop("middle_block.0.in_layers.2.bias")
    with pytest.raises(
        PublishedWeightsError, match=r"missing middle_block\.0\.in_layers\.2\.bias; unexpected nothing\. Set"
    ):
        from_guided_diffusion(weights, settings(NET), attention_order="legacy")
    weights |= {"middle_block.0.in_layers.2.bias": bias, "extra.weight": bias}
    with pytest.raises(PublishedWeightsError, match=r"missing nothing; unexpected extra\.weight\. Set"):
        from_guided_diffusion(weights, settings(NET), attention_order="legacy")


def test_another_kind_of_resampling_is_named() -> None:
    plain = settings(dataclasses.replace(NET, resblock_updown=False))
    with pytest.raises(
        PublishedWeightsError, match=r"missing input_blocks\.2\.0\.op\.bias.* and \d+ more\. Set .*resampling"
    ):
        from_guided_diffusion(random_weights(NET, seed=8), plain, attention_order="legacy")


def test_other_sizes_are_told_with_both_shapes() -> None:
    other = settings(dataclasses.replace(NET, use_scale_shift_norm=False))
    with pytest.raises(PublishedWeightsError, match=r"emb_layers\.1\.weight \[128, 256\] instead of \[64, 256\]"):
        from_guided_diffusion(random_weights(NET, seed=9), other, attention_order="legacy")


@pytest.mark.parametrize("state", [{}, {"input_blocks.0.0.weight": torch.zeros(3)}])
def test_something_else_is_no_checkpoint(state: dict[str, Tensor]) -> None:
    with pytest.raises(PublishedWeightsError, match="no checkpoint of the guided-diffusion U-Net"):
        from_guided_diffusion(state, settings(NET), attention_order="legacy")


def test_the_published_network_has_no_frequency_layer() -> None:
    ours = settings(NET).model_copy(update={"frequency_layer": TDF(kind="tdf", bottleneck=16, min_units=16)})
    with pytest.raises(PublishedWeightsError, match="frequency_layer"):
        from_guided_diffusion(random_weights(NET, seed=10), ours, attention_order="legacy")


def test_ours_has_as_many_parameters_as_the_published_network() -> None:
    """Vocals: channels 64, multipliers 1 1 2 2 4 4, 2 blocks, BigGAN resampling: 34,281,282."""
    net = dataclasses.replace(NET, channel_mult=(1, 1, 2, 2, 4, 4), num_res_blocks=2, attention_resolutions=(16, 32))
    ours = UNet(settings(net), shape=(net.in_channels, 32, 32), conditioning=Unconditional(kind="none"))
    assert sum(parameter.numel() for parameter in ours.parameters()) == 34_281_282
    assert sum(weight.numel() for weight in random_weights(net, seed=0).values()) == 34_281_282
