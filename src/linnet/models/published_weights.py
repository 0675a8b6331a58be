"""Weights of the published guided-diffusion U-Net (Dhariwal & Nichol 2021) for ours."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

from linnet.errors import LinnetError
from linnet.models.blocks import SelfAttention
from linnet.models.unet import UNet
from linnet.models.unet_blocks import Level, ResidualBlock, Upsample
from linnet.recipe import ClassLabel, NoFrequencyLayer, Unconditional
from linnet.recipe import UNet as Settings

AttentionOrder = Literal["legacy", "new"]
SHOWN = 5  # names in an error
RESIDUAL_LAYERS = (
    ("in_layers.0", "norm_in"),
    ("in_layers.2", "conv_in"),
    ("out_layers.0", "norm_out"),
    ("out_layers.3", "conv_out"),
)


class GuidedWeightsError(LinnetError):
    """The checkpoint does not belong to a network with these settings."""


PUBLISHED_GROUPS = 32


@dataclass(frozen=True)
class Move:
    """One tensor's way from the published network into ours."""

    theirs: str
    ours: str
    change: Callable[[Tensor], Tensor]


def from_guided_diffusion(
    state: Mapping[str, Tensor], settings: Settings, *, attention_order: AttentionOrder
) -> dict[str, Tensor]:
    """A published checkpoint's tensors under our names, ready for `UNet.load_state_dict`.

    `attention_order` is "new" where the checkpoint was made with use_new_attention_order, else "legacy". Two things
    have no counterpart there: our row for "no class" becomes zeros; of a checkpoint that also predicts variances (twice
    as many channels out as in), the first half, which predicts the example or its noise, is kept.

    Raises:
        GuidedWeightsError: a tensor is missing, left over, or has another shape than these settings make.
    """
    if not isinstance(settings.frequency_layer, NoFrequencyLayer):
        raise GuidedWeightsError(
            "[model] frequency_layer: the published network has none. Use frequency_layer = { kind = 'none' }."
        )
    if settings.norm_groups != PUBLISHED_GROUPS:
        raise GuidedWeightsError(
            f"[model] norm_groups = {settings.norm_groups}: the published network has {PUBLISHED_GROUPS}. The tensors "
            "would fit, and compute something else."
        )
    network = _network(state, settings)
    moves = [
        Move(f"{theirs}.{name}", f"{ours}.{name}", change)
        for theirs, ours, change in _modules(network, attention_order)
        for name in ("weight", "bias")
    ]
    if network.label_embedding is not None:
        moves.append(Move("label_emb.weight", "label_embedding.table.weight", _with_no_class))
    assert len({move.theirs for move in moves}) == len(moves), "every tensor of theirs is used once"
    _check_names(state, {move.theirs for move in moves})
    converted = {move.ours: move.change(state[move.theirs].detach()).contiguous() for move in moves}
    _check_shapes(converted, network.state_dict(), {move.ours: move.theirs for move in moves})
    return converted


def _network(state: Mapping[str, Tensor], settings: Settings) -> UNet:
    """Our network without memory, as large as the checkpoint's input and classes say."""
    stem = state.get("input_blocks.0.0.weight")
    if stem is None or stem.ndim != 4:
        raise GuidedWeightsError(
            "this is no checkpoint of the guided-diffusion U-Net: it has no 'input_blocks.0.0.weight' of 4 dimensions"
        )
    classes = state.get("label_emb.weight")
    side = 2 ** (len(settings.channel_multipliers) - 1)  # of no consequence: the weights fit every size
    with torch.device("meta"):
        return UNet(
            settings,
            shape=(stem.shape[1], side, side),
            conditioning=Unconditional(kind="none")
            if classes is None
            else ClassLabel(kind="class_label", num_classes=len(classes), dropout=0.0),
        )


Modules = Iterator[tuple[str, str, Callable[[Tensor], Tensor]]]  # theirs, ours, what happens to weight and bias


def _modules(network: UNet, order: AttentionOrder) -> Modules:
    yield "time_embed.0", "embedding_mlp.0", _sines_first
    yield "time_embed.2", "embedding_mlp.2", _as_is
    yield "input_blocks.0.0", "stem", _as_is
    for index, part in enumerate(network.down):
        yield from _part(part, f"input_blocks.{index + 1}", 0, f"down.{index}", order)
    first, last = network.middle
    yield from _part(first, "middle_block", 0, "middle.0", order)
    yield from _part(last, "middle_block", 2, "middle.1", order)
    block = -1
    for index, part in enumerate(network.up):
        place = 0
        if isinstance(part, Level):
            block += 1
        else:  # an upsampling belongs to the block before it
            place = 1 if isinstance(network.up[index - 1].attention, nn.Identity) else 2
        yield from _part(part, f"output_blocks.{block}", place, f"up.{index}", order)
    yield "out.0", "head.0", _as_is
    yield "out.2", "head.2", partial(_first_rows, network.stem.in_channels)


def _part(part: nn.Module, theirs: str, place: int, ours: str, order: AttentionOrder) -> Modules:
    match part:
        case Level():
            yield from _residual(part.residual, f"{theirs}.{place}", f"{ours}.residual")
            if isinstance(part.attention, SelfAttention):
                yield from _attention(part.attention, f"{theirs}.{place + 1}", f"{ours}.attention", order)
        case ResidualBlock():
            yield from _residual(part, f"{theirs}.{place}", ours)
        case Upsample():
            yield f"{theirs}.{place}.conv", f"{ours}.conv", _as_is
        case _:
            yield f"{theirs}.{place}.op", ours, _as_is


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
    """Their timestep embedding is cosines, then sines; ours the other way round."""
    return torch.cat(tensor.chunk(2, dim=1)[::-1], dim=1) if tensor.ndim == 2 else tensor


def _as_image_kernel(tensor: Tensor) -> Tensor:
    """Theirs acts on a row of positions, ours on an image: [out, in, 1] -> [out, in, 1, 1]; biases stay."""
    return tensor[..., None] if tensor.ndim == 3 else tensor


def _queries_first(heads: int, tensor: Tensor) -> Tensor:
    """The older order of channels is [heads, (query, key, value), ...]; ours is [(query, key, value), heads, ...]."""
    if len(tensor) % (3 * heads):
        return tensor  # of a wrong shape, which is reported with all others
    reordered = tensor.reshape(heads, 3, -1, *tensor.shape[1:]).transpose(0, 1)
    return _as_image_kernel(reordered.reshape(tensor.shape))


def _first_rows(count: int, tensor: Tensor) -> Tensor:
    return tensor[:count] if len(tensor) == 2 * count else tensor


def _with_no_class(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, torch.zeros_like(tensor[:1])])


def _check_names(state: Mapping[str, Tensor], wanted: set[str]) -> None:
    missing, unexpected = sorted(wanted - set(state)), sorted(set(state) - wanted)
    if missing or unexpected:
        raise GuidedWeightsError(
            f"the checkpoint does not belong to this [model]: missing {_some(missing)}; unexpected "
            f"{_some(unexpected)}. Set channel_multipliers, blocks_per_level, attention_heads_by_level and resampling "
            "as the checkpoint's."
        )


def _check_shapes(converted: Mapping[str, Tensor], wanted: Mapping[str, Tensor], theirs: Mapping[str, str]) -> None:
    assert set(converted) == set(wanted), "every tensor of ours is named once"
    if wrong := [
        f"{theirs[name]} {list(tensor.shape)} instead of {list(wanted[name].shape)}"
        for name, tensor in converted.items()
        if tensor.shape != wanted[name].shape
    ]:
        raise GuidedWeightsError(
            f"the checkpoint does not belong to this [model]: {_some(wrong)}. Set channels, channel_multipliers and "
            "timestep_injection as the checkpoint's."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more
