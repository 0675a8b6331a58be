"""From weights of the published guided-diffusion U-Net (Dhariwal & Nichol 2021) to weights of our U-Net."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

from linnet.errors import LinnetError
from linnet.models.blocks import SelfAttention
from linnet.models.unet import UNet
from linnet.models.unet_blocks import ResidualAttentionBlock, ResidualBlock, Upsample
from linnet.recipe import ClassLabel, NoFrequencyLayer, Unconditional
from linnet.recipe import UNet as Settings

AttentionOrder = Literal["legacy", "new"]
NAMES_IN_ERROR = 5
PUBLISHED_GROUPS = 32
RESIDUAL_LAYERS = (
    ("in_layers.0", "norm_in"),
    ("in_layers.2", "conv_in"),
    ("out_layers.0", "norm_out"),
    ("out_layers.3", "conv_out"),
)


class PublishedWeightsError(LinnetError):
    """The checkpoint does not belong to a network with these settings."""


@dataclass(frozen=True)
class Conversion:
    """One tensor's name in the published network, its name in ours, and what changes in it."""

    theirs: str
    ours: str
    change: Callable[[Tensor], Tensor]


def from_guided_diffusion(
    state: Mapping[str, Tensor], settings: Settings, *, attention_order: AttentionOrder
) -> dict[str, Tensor]:
    """A published checkpoint's tensors under our names, ready for `UNet.load_state_dict`.

    `attention_order` is "new" where the checkpoint was made with use_new_attention_order, else "legacy". Our row for
    the null condition has no counterpart there and becomes zeros. A checkpoint that also predicts variances has twice
    as many channels out as in; only the first half, which predicts the example or its noise, is kept.

    Raises:
        PublishedWeightsError: a tensor is missing, is left over, or has another shape than these settings make.
    """
    if not isinstance(settings.frequency_layer, NoFrequencyLayer):
        raise PublishedWeightsError(
            "[model] frequency_layer: the published network has none. Use frequency_layer = { kind = 'none' }."
        )
    if settings.norm_groups != PUBLISHED_GROUPS:
        raise PublishedWeightsError(
            f"[model] norm_groups = {settings.norm_groups}: the published network has {PUBLISHED_GROUPS}. The tensors "
            "would fit, and compute something else."
        )
    network = _network(state, settings)
    conversions = [
        Conversion(f"{theirs}.{name}", f"{ours}.{name}", change)
        for theirs, ours, change in _modules(network, attention_order)
        for name in ("weight", "bias")
    ]
    if network.label_embedding is not None:
        conversions.append(Conversion("label_emb.weight", "label_embedding.table.weight", _with_null_row))
    assert len({each.theirs for each in conversions}) == len(conversions), "every tensor of theirs is used once"
    _check_names(state, {each.theirs for each in conversions})
    converted = {each.ours: each.change(state[each.theirs].detach()).contiguous() for each in conversions}
    _check_shapes(converted, network.state_dict(), {each.ours: each.theirs for each in conversions})
    return converted


def _network(state: Mapping[str, Tensor], settings: Settings) -> UNet:
    """Our network without memory (on the meta device), as large as the checkpoint's input and classes say."""
    stem = state.get("input_blocks.0.0.weight")
    if stem is None or stem.ndim != 4:
        raise PublishedWeightsError(
            "this is no checkpoint of the guided-diffusion U-Net: it has no 'input_blocks.0.0.weight' of 4 dimensions"
        )
    classes = state.get("label_emb.weight")
    side = 2 ** (len(settings.channel_multipliers) - 1)  # any will do: the weights fit every size
    with torch.device("meta"):
        return UNet(
            settings,
            shape=(stem.shape[1], side, side),
            conditioning=Unconditional(kind="none")
            if classes is None
            else ClassLabel(kind="class_label", num_classes=len(classes), dropout=0.0),
        )


Modules = Iterator[tuple[str, str, Callable[[Tensor], Tensor]]]  # theirs, ours, what changes in weight and bias


def _modules(network: UNet, order: AttentionOrder) -> Modules:
    yield "time_embed.0", "embedding_mlp.0", _sines_first
    yield "time_embed.2", "embedding_mlp.2", _as_is
    yield "input_blocks.0.0", "stem", _as_is
    for index, layer in enumerate(network.down):
        yield from _layer(layer, f"input_blocks.{index + 1}", 0, f"down.{index}", order)
    first, last = network.middle
    yield from _layer(first, "middle_block", 0, "middle.0", order)
    yield from _layer(last, "middle_block", 2, "middle.1", order)
    block = -1
    for index, layer in enumerate(network.up):
        position = 0
        if isinstance(layer, ResidualAttentionBlock):
            block += 1
        else:  # an upsampling belongs to the block before it
            position = 1 if isinstance(network.up[index - 1].attention, nn.Identity) else 2
        yield from _layer(layer, f"output_blocks.{block}", position, f"up.{index}", order)
    yield "out.0", "head.0", _as_is
    yield "out.2", "head.2", partial(_first_rows, network.stem.in_channels)


def _layer(layer: nn.Module, theirs: str, position: int, ours: str, order: AttentionOrder) -> Modules:
    match layer:
        case ResidualAttentionBlock():
            yield from _residual(layer.residual, f"{theirs}.{position}", f"{ours}.residual")
            if isinstance(layer.attention, SelfAttention):
                yield from _attention(layer.attention, f"{theirs}.{position + 1}", f"{ours}.attention", order)
        case ResidualBlock():
            yield from _residual(layer, f"{theirs}.{position}", ours)
        case Upsample():
            yield f"{theirs}.{position}.conv", f"{ours}.conv", _as_is
        case _:
            yield f"{theirs}.{position}.op", ours, _as_is


def _residual(block: ResidualBlock, theirs: str, ours: str) -> Modules:
    for their_layer, our_layer in RESIDUAL_LAYERS:
        yield f"{theirs}.{their_layer}", f"{ours}.{our_layer}", _as_is
    injection = "to_shift" if block.injection == "shift" else "to_scale_shift"
    yield f"{theirs}.emb_layers.1", f"{ours}.{injection}", _as_is
    if not isinstance(block.skip, nn.Identity):
        yield f"{theirs}.skip_connection", f"{ours}.skip", _as_is


def _attention(layer: SelfAttention, theirs: str, ours: str, order: AttentionOrder) -> Modules:
    yield f"{theirs}.norm", f"{ours}.norm", _as_is
    match order:
        case "legacy":
            yield f"{theirs}.qkv", f"{ours}.to_qkv", partial(_queries_first, layer.heads)
        case "new":
            yield f"{theirs}.qkv", f"{ours}.to_qkv", _as_image_kernel
        case _:
            assert_never(order)
    yield f"{theirs}.proj_out", f"{ours}.to_out", _as_image_kernel


def _as_is(tensor: Tensor) -> Tensor:
    return tensor


def _sines_first(tensor: Tensor) -> Tensor:
    """Their timestep embedding has cosines before sines; ours has sines before cosines."""
    return torch.cat(tensor.chunk(2, dim=1)[::-1], dim=1) if tensor.ndim == 2 else tensor


def _as_image_kernel(tensor: Tensor) -> Tensor:
    """From their 1-D convolution to our 2-D one: [out, in, 1] -> [out, in, 1, 1]; biases stay."""
    return tensor[..., None] if tensor.ndim == 3 else tensor


def _queries_first(heads: int, tensor: Tensor) -> Tensor:
    """The older order of channels is [heads, (query, key, value), ...]; ours is [(query, key, value), heads, ...]."""
    if len(tensor) % (3 * heads):
        return tensor  # the shape is wrong, which is reported with all others
    reordered = tensor.reshape(heads, 3, -1, *tensor.shape[1:]).transpose(0, 1)
    return _as_image_kernel(reordered.reshape(tensor.shape))


def _first_rows(count: int, tensor: Tensor) -> Tensor:
    return tensor[:count] if len(tensor) == 2 * count else tensor


def _with_null_row(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, torch.zeros_like(tensor[:1])])


def _check_names(state: Mapping[str, Tensor], expected: set[str]) -> None:
    missing, unexpected = sorted(expected - set(state)), sorted(set(state) - expected)
    if missing or unexpected:
        raise PublishedWeightsError(
            f"the checkpoint does not belong to this [model]: missing {_some(missing)}; unexpected "
            f"{_some(unexpected)}. Set channel_multipliers, blocks_per_level, attention_heads_by_level and resampling "
            "as the checkpoint's."
        )


def _check_shapes(converted: Mapping[str, Tensor], expected: Mapping[str, Tensor], theirs: Mapping[str, str]) -> None:
    assert set(converted) == set(expected), "every tensor of ours is named once"
    if wrong := [
        f"{theirs[name]} {list(tensor.shape)} instead of {list(expected[name].shape)}"
        for name, tensor in converted.items()
        if tensor.shape != expected[name].shape
    ]:
        raise PublishedWeightsError(
            f"the checkpoint does not belong to this [model]: {_some(wrong)}. Set channels, channel_multipliers and "
            "timestep_injection as the checkpoint's."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_IN_ERROR} more" if len(names) > NAMES_IN_ERROR else ""
    return (", ".join(names[:NAMES_IN_ERROR]) or "nothing") + more
