"""The Diffusion Transformer: size, its start, one block against plain loops, and any height and width."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from linnet.models.dit import Block, DiT
from linnet.recipe import ClassLabel, Conditioning, DiffusionTransformer, Unconditional

NONE = Unconditional(kind="none")
CLASSES = ClassLabel(kind="class_label", num_classes=5, dropout=0.1)
TIMESTEPS = torch.tensor([3.0, 700.0])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Layers this small are ten times slower when their threads wait for a busy core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(*, patch_overlap: int = 0, dropout: float = 0.0) -> DiffusionTransformer:
    return DiffusionTransformer(
        kind="dit",
        patch_size=4,
        patch_overlap=patch_overlap,
        width=16,
        num_blocks=2,
        num_heads=4,
        mlp_ratio=3,
        dropout=dropout,
    )


def build(
    *,
    shape: tuple[int, int, int] = (2, 12, 8),
    conditioning: Conditioning = NONE,
    patch_overlap: int = 0,
    dropout: float = 0.0,
    random_weights: bool = True,
) -> DiT:
    torch.manual_seed(0)
    network = DiT(
        settings(patch_overlap=patch_overlap, dropout=dropout), shape=shape, conditioning=conditioning
    ).double()
    if random_weights:
        randomise(network)
    return network


def randomise(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = parameter[0].numel() ** -0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def examples(height: int, width: int, *, seed: int = 1) -> Tensor:
    return torch.randn(2, 2, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_parameter_count_of_the_music_model() -> None:
    """Within 0.1 % of the document's 5,388,802."""
    section = DiffusionTransformer(
        kind="dit", patch_size=16, patch_overlap=0, width=256, num_blocks=4, num_heads=4, mlp_ratio=4, dropout=0.0
    )
    with torch.device("meta"):
        network = DiT(section, shape=(1, 512, 512), conditioning=NONE)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 5_390_593
    assert abs(count / 5_388_802 - 1) < 1e-3


def test_starts_at_zero_and_every_block_as_the_identity() -> None:
    network = build(random_weights=False)
    assert torch.equal(network(examples(12, 8), TIMESTEPS, None), torch.zeros(2, 2, 12, 8))
    tokens, embedding = torch.randn(2, 6, 16).double(), torch.randn(2, 16).double()
    assert torch.equal(network.blocks[0](tokens, embedding), tokens)


def test_one_block_is_attention_and_mlp_between_modulated_norms_and_gates() -> None:
    """Against plain loops in float64 (Peebles & Xie 2023, figure 3)."""
    block = Block(settings()).double()
    randomise(block)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(1, 5, 16, generator=generator, dtype=torch.float64)
    embedding = torch.randn(1, 16, generator=generator, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in block.state_dict().items()}

    def dense(name: str, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = weights[f"{name}.weight"] @ vector + weights[f"{name}.bias"]
        return result

    def norm(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-6)
        return result

    parts = np.split(dense("modulation", embedding[0].numpy()), 6)
    rows = list(tokens[0].numpy())
    inputs = [norm(row) * (1 + parts[1]) + parts[0] for row in rows]
    queries, keys, values = zip(*(np.split(dense("attention.to_qkv", row), 3) for row in inputs), strict=True)
    for index in range(5):
        mixed = np.zeros(16)
        for head in (slice(start, start + 4) for start in range(0, 16, 4)):
            scores = [math.exp(queries[index][head] @ key[head] / math.sqrt(4)) for key in keys]
            mixed[head] = sum(s * value[head] for s, value in zip(scores, values, strict=True)) / sum(scores)
        rows[index] = rows[index] + parts[2] * dense("attention.to_out", mixed)
    for index in range(5):
        hidden = dense("mlp.0", norm(rows[index]) * (1 + parts[4]) + parts[3])
        hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
        rows[index] = rows[index] + parts[5] * dense("mlp.2", hidden)
    found = block(tokens, embedding)[0].detach().numpy()
    np.testing.assert_allclose(found, np.stack(rows), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(12, 8), (12, 9), (5, 3), (1, 1), (16, 40)])
@pytest.mark.parametrize("patch_overlap", [0, 3])
def test_any_height_and_width(height: int, width: int, patch_overlap: int) -> None:
    found = build(patch_overlap=patch_overlap)(examples(height, width), TIMESTEPS, None)
    assert found.shape == (2, 2, height, width)
    assert float(found.detach().abs().min()) > 0


def test_a_part_of_a_patch_is_a_patch_of_zeros_around_it() -> None:
    network, x = build(), examples(10, 7)
    padded = F.pad(x, (0, 1, 0, 2))
    assert torch.equal(network(x, TIMESTEPS, None), network(padded, TIMESTEPS, None)[:, :, :10, :7])


def test_overlapping_patches_read_and_write_into_their_neighbours() -> None:
    """A patch of 4 x 4 with an overlap of 2 is a window of 8 x 8 around it, for reading and for writing."""
    network = build(patch_overlap=2)
    windows = [(slice(max(0, 4 * row - 2), 4 * row + 6), slice(max(0, 4 * col - 2), 4 * col + 6))
               for row in range(3) for col in range(2)]  # fmt: skip
    no_bias = torch.zeros(16, dtype=torch.float64)
    for number, (rows, columns) in enumerate(windows):
        tokens = torch.zeros(1, 16, 6, dtype=torch.float64)
        tokens[:, :, number] = 1
        written = F.conv_transpose2d(tokens.reshape(1, 16, 3, 2), network.head.weight, stride=4, padding=2)
        expected = torch.zeros(12, 8, dtype=torch.bool)
        expected[rows, columns] = True
        assert torch.equal(written[0].abs().sum(0) > 0, expected)
        read = [
            bool(F.conv2d(pixel, network.embed.weight, no_bias, stride=4, padding=2)[0].abs().sum(0).flatten()[number])
            for pixel in torch.eye(96, dtype=torch.float64).reshape(96, 1, 1, 12, 8).expand(-1, 1, 2, 12, 8)
        ]
        assert read == expected.flatten().tolist()


def test_positions_are_untouched_on_the_trained_grid_and_interpolated_on_others() -> None:
    network = build(shape=(2, 11, 8))  # three rows of patches, the last one incomplete
    assert network.positions.shape == (16, 3, 2)
    assert network.positions_on(torch.Size([3, 2])) is network.positions
    longer = network.positions_on(torch.Size([3, 5]))
    assert longer.shape == (16, 3, 5)
    with torch.no_grad():
        network.positions.fill_(0.7)
    torch.testing.assert_close(network.positions_on(torch.Size([6, 5])), torch.full((16, 6, 5), 0.7).double())


def test_positions_tell_patches_apart_and_nothing_else_does() -> None:
    """Without them, moved patches give the same prediction, moved."""
    network, x = build(), examples(12, 8)
    moved = x.roll((4, -4), dims=(2, 3))
    assert not torch.allclose(network(moved, TIMESTEPS, None), network(x, TIMESTEPS, None).roll((4, -4), dims=(2, 3)))
    torch.nn.init.zeros_(network.positions)
    expected = network(x, TIMESTEPS, None).roll((4, -4), dims=(2, 3))
    torch.testing.assert_close(network(moved, TIMESTEPS, None), expected, rtol=1e-10, atol=1e-10)


def test_timestep_and_condition_reach_every_pixel() -> None:
    network, x, labels = build(conditioning=CLASSES), examples(12, 8), torch.tensor([0, 4])
    with torch.inference_mode():
        base = network(x, TIMESTEPS, labels)
        assert float((network(x, TIMESTEPS + 1, labels) - base).abs().min()) > 0
        assert float((network(x, TIMESTEPS, (labels + 1) % 5) - base).abs().min()) > 0
        without = network(x, TIMESTEPS, None)
        assert torch.equal(without, network(x, TIMESTEPS, torch.full((2,), 5)))
        assert float((without - base).abs().min()) > 0


def test_examples_do_not_see_one_another() -> None:
    network, x = build(), examples(12, 8)
    alone = torch.cat([network(x[[i]], TIMESTEPS[[i]], None) for i in range(2)])
    torch.testing.assert_close(network(x, TIMESTEPS, None), alone, rtol=1e-10, atol=1e-10)


def test_every_parameter_gets_a_gradient() -> None:
    network = build(conditioning=CLASSES)
    network(examples(12, 8), TIMESTEPS, torch.tensor([0, 4])).square().mean().backward()
    none = [
        name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().max() > 1e-7
    ]
    assert none == []


def test_dropout_works_in_training_only() -> None:
    network, plain, x = build(dropout=0.5), build(), examples(12, 8)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(network(x, TIMESTEPS, None), network(x, TIMESTEPS, None))
    network.eval()
    assert torch.equal(network(x, TIMESTEPS, None), plain(x, TIMESTEPS, None))
    assert not any(isinstance(module, torch.nn.Dropout) for module in plain.modules())
