"""The U-Net of Dhariwal & Nichol (2021) written down a second time: functions on a dictionary of named tensors.

After the papers' descriptions (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021, appendix) and the names of the tensors
in the published checkpoints. Shares no code with linnet.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
Layer = tuple[str, int, int]  # kind, channels in, channels out


@dataclass(frozen=True)
class Published:
    """A published network's settings under their published names."""

    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]  # by how much the image is shrunk where there is attention
    num_heads: int
    use_scale_shift_norm: bool
    resblock_updown: bool
    use_new_attention_order: bool
    num_classes: int = 0

    def layout(self) -> dict[str, list[Layer]]:
        """What is in `input_blocks.0`, `input_blocks.1`, ..., `middle_block`, `output_blocks.0`, ..."""
        channels = self.model_channels * self.channel_mult[0]
        entries: dict[str, list[Layer]] = {"input_blocks.0": [("stem", self.in_channels, channels)]}
        widths = [channels]
        for level, multiplier in enumerate(self.channel_mult):
            for _ in range(self.num_res_blocks):
                width = self.model_channels * multiplier
                entries[f"input_blocks.{len(widths)}"] = [("res", channels, width), *self._attention(level, width)]
                channels = width
                widths.append(width)
            if level + 1 < len(self.channel_mult):
                kind = "res_down" if self.resblock_updown else "op"
                entries[f"input_blocks.{len(widths)}"] = [(kind, channels, channels)]
                widths.append(channels)
        entries["middle_block"] = [("res", channels, channels), ("attention", channels, channels)]
        entries["middle_block"] += [("res", channels, channels)]
        number = 0
        for level in reversed(range(len(self.channel_mult))):
            for block in range(self.num_res_blocks + 1):
                width = self.model_channels * self.channel_mult[level]
                layers: list[Layer] = [("res", channels + widths.pop(), width), *self._attention(level, width)]
                channels = width
                if level > 0 and block == self.num_res_blocks:
                    layers.append(("res_up" if self.resblock_updown else "conv", width, width))
                entries[f"output_blocks.{number}"] = layers
                number += 1
        return entries

    def _attention(self, level: int, width: int) -> list[Layer]:
        return [("attention", width, width)] if 2**level in self.attention_resolutions else []


def random_weights(net: Published, *, seed: int) -> Weights:
    """Random tensors of all names and shapes, float64; nothing is zero."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}

    def add(name: str, out: int, *rest: int) -> None:
        scale = math.prod(rest) ** -0.5
        weights[f"{name}.weight"] = torch.randn(out, *rest, generator=generator, dtype=torch.float64) * scale
        weights[f"{name}.bias"] = torch.randn(out, generator=generator, dtype=torch.float64)

    dims = 4 * net.model_channels
    add("time_embed.0", dims, net.model_channels)
    add("time_embed.2", dims, dims)
    if net.num_classes:
        weights["label_emb.weight"] = torch.randn(net.num_classes, dims, generator=generator, dtype=torch.float64)
    for entry, layers in net.layout().items():
        for index, (kind, into, out) in enumerate(layers):
            name = f"{entry}.{index}"
            match kind:
                case "stem":
                    add(name, out, into, 3, 3)
                case "op" | "conv":
                    add(f"{name}.{kind}", out, into, 3, 3)
                case "attention":
                    add(f"{name}.norm", into)
                    add(f"{name}.qkv", 3 * into, into, 1)
                    add(f"{name}.proj_out", into, into, 1)
                case _:
                    add(f"{name}.in_layers.0", into)
                    add(f"{name}.in_layers.2", out, into, 3, 3)
                    add(f"{name}.emb_layers.1", 2 * out if net.use_scale_shift_norm else out, dims)
                    add(f"{name}.out_layers.0", out)
                    add(f"{name}.out_layers.3", out, out, 3, 3)
                    if into != out:
                        add(f"{name}.skip_connection", out, into, 1, 1)
    width = net.model_channels * net.channel_mult[0]
    add("out.0", width)
    add("out.2", net.out_channels, width, 3, 3)
    return weights


def run(net: Published, weights: Weights, x: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
    """The output of the published network, in the precision of `weights`."""
    half = net.model_channels // 2
    speeds = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32) / half)
    angles = timesteps[:, None].double() * speeds.float().double()  # speeds have single precision in both networks
    embedding = torch.cat([torch.cos(angles), torch.sin(angles)], dim=1).to(x.dtype)
    embedding = _linear(weights, "time_embed.2", F.silu(_linear(weights, "time_embed.0", embedding)))
    if labels is not None:
        embedding = embedding + weights["label_emb.weight"][labels]
    saved: list[Tensor] = []
    for entry, layers in net.layout().items():
        if entry.startswith("output"):
            x = torch.cat([x, saved.pop()], dim=1)
        for index, (kind, _, _) in enumerate(layers):
            x = _layer(net, weights, f"{entry}.{index}", kind, x, embedding)
        if entry.startswith("input"):
            saved.append(x)
    return _conv(weights, "out.2", F.silu(_norm(weights, "out.0", x)))


def _layer(net: Published, weights: Weights, name: str, kind: str, x: Tensor, embedding: Tensor) -> Tensor:
    match kind:
        case "stem":
            return _conv(weights, name, x)
        case "op":
            return F.conv2d(x, weights[f"{name}.op.weight"], weights[f"{name}.op.bias"], stride=2, padding=1)
        case "conv":
            return _conv(weights, f"{name}.conv", _twice(x))
        case "attention":
            return _attention(net, weights, name, x)
        case _:
            return _res(net, weights, name, kind, x, embedding)


def _res(net: Published, weights: Weights, name: str, kind: str, x: Tensor, embedding: Tensor) -> Tensor:
    h = F.silu(_norm(weights, f"{name}.in_layers.0", x))
    if kind == "res_down":
        h, x = _halved(h), _halved(x)
    if kind == "res_up":
        h, x = _twice(h), _twice(x)
    h = _conv(weights, f"{name}.in_layers.2", h)
    scale_shift = _linear(weights, f"{name}.emb_layers.1", F.silu(embedding))[:, :, None, None]
    if net.use_scale_shift_norm:
        width = h.shape[1]
        h = _norm(weights, f"{name}.out_layers.0", h) * (1 + scale_shift[:, :width]) + scale_shift[:, width:]
    else:
        h = _norm(weights, f"{name}.out_layers.0", h + scale_shift)
    h = _conv(weights, f"{name}.out_layers.3", F.silu(h))
    if f"{name}.skip_connection.weight" in weights:
        x = F.conv2d(x, weights[f"{name}.skip_connection.weight"], weights[f"{name}.skip_connection.bias"])
    return x + h


def _attention(net: Published, weights: Weights, name: str, x: Tensor) -> Tensor:
    """One example and one head after the other."""
    per_head = x.shape[1] // net.num_heads
    rows = F.conv1d(
        _norm(weights, f"{name}.norm", x.flatten(2)), weights[f"{name}.qkv.weight"], weights[f"{name}.qkv.bias"]
    )
    mixed = torch.empty_like(x.flatten(2))
    for example in range(len(x)):
        for head in range(net.num_heads):
            if net.use_new_attention_order:  # all queries, all keys, all values
                starts = [(third * net.num_heads + head) * per_head for third in range(3)]
            else:  # head after head, each with its query, key and value
                starts = [(3 * head + third) * per_head for third in range(3)]
            query, key, value = (rows[example, start : start + per_head] for start in starts)
            fourth_root = per_head**-0.25
            chances = torch.softmax((query * fourth_root).T @ (key * fourth_root), dim=1)
            mixed[example, head * per_head : (head + 1) * per_head] = value @ chances.T
    added = F.conv1d(mixed, weights[f"{name}.proj_out.weight"], weights[f"{name}.proj_out.bias"])
    return x + added.reshape(x.shape)


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Group norm with 32 groups and epsilon 1e-5."""
    parts = x.reshape(len(x), 32, -1)
    spread = parts.var(dim=2, keepdim=True, unbiased=False)
    normed = ((parts - parts.mean(dim=2, keepdim=True)) / torch.sqrt(spread + 1e-5)).reshape(x.shape)
    shape = [1, -1] + [1] * (x.ndim - 2)
    return normed * weights[f"{name}.weight"].reshape(shape) + weights[f"{name}.bias"].reshape(shape)


def _conv(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _halved(x: Tensor) -> Tensor:
    """The mean of every square of four pixels."""
    return (x[:, :, 0::2, 0::2] + x[:, :, 0::2, 1::2] + x[:, :, 1::2, 0::2] + x[:, :, 1::2, 1::2]) / 4


def _twice(x: Tensor) -> Tensor:
    """Every pixel four times."""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
