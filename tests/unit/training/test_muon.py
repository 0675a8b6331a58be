"""Muon against the singular value decomposition, and against its papers' lines written out in float64."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linnet.recipe import Muon as MuonSection
from linnet.training.checkpoint import CheckpointStore
from linnet.training.muon import Muon, orthogonalize

SECTION = MuonSection(kind="muon", momentum=0.9, beta1=0.9, beta2=0.99, weight_decay=0.5)
ONE, ZERO = torch.ones(()), torch.zeros(())


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 24), nn.Conv2d(24, 9, 3), nn.Conv2d(8, 8, 3, groups=8))


def gradients(net: nn.Module, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(each.shape, generator=generator) for each in net.parameters()]


def by_svd(matrix: Tensor) -> Tensor:
    """What five rounds of a s + b s^3 + c s^5 make of the singular values of `matrix` over its norm, float64."""
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    composed: Tensor = u @ torch.diag(s) @ vh
    return composed


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 9, 40), (2, 128, 1152), (3, 64, 16)])
def test_singular_values_become_what_the_iteration_makes_of_them(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for matrix, found in zip(matrices, orthogonalize(matrices), strict=True):
        torch.testing.assert_close(found, by_svd(matrix).float(), atol=2e-5, rtol=0)
    values = torch.linalg.svdvals(orthogonalize(matrices[:, :, : shape[1] // 2]))
    assert 0.6 < values.min() < values.max() < 1.25  # far from square: no singular value is small


def test_a_matrix_with_hardly_any_rank_is_no_trouble() -> None:
    generator = torch.Generator().manual_seed(0)
    thin = torch.randn(1, 32, 1, generator=generator) @ torch.randn(1, 1, 64, generator=generator)
    values = torch.linalg.svdvals(orthogonalize(thin + 1e-6 * torch.randn(1, 32, 64, generator=generator)))[0]
    assert 0.6 < values[0] < 1.25
    assert values[1:].max() < 0.01
    assert torch.equal(orthogonalize(torch.zeros(1, 8, 8)), torch.zeros(1, 8, 8))


def test_steps_are_what_the_papers_say() -> None:
    """Weights of linear layers and whole convolutions by Muon, embeddings, biases and depthwise weights by AdamW."""
    net, reference = network(), network()
    rate = torch.tensor(0.01)
    optimizer = Muon(net, SECTION, rate)
    named = dict(reference.named_parameters())
    others = [parameter for name, parameter in named.items() if name not in {"1.weight", "2.weight"}]
    adamw = torch.optim.AdamW(others, lr=0.01, betas=(0.9, 0.99), weight_decay=0.5)
    moments = {
        name: torch.zeros(len(named[name]), named[name][0].numel()).double() for name in ("1.weight", "2.weight")
    }
    for seed in range(3):
        found = gradients(net, seed)
        optimizer.update(found, divisor=torch.tensor(4.0), skip=ZERO)
        for parameter, gradient in zip(reference.parameters(), found, strict=True):
            parameter.grad = gradient / 4
        adamw.step()
        for name, moment in moments.items():
            weight = named[name]
            assert weight.grad is not None
            matrix = weight.grad.reshape(moment.shape).double()
            moment.mul_(0.9).add_(0.1 * matrix)
            step = 0.2 * math.sqrt(max(moment.shape)) * by_svd(0.9 * moment + 0.1 * matrix)
            weight.data = (weight * (1 - 0.01 * 0.5) - 0.01 * step.reshape(weight.shape)).float()
    for (name, weight), other in zip(net.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(weight, other, atol=2e-6, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]


def test_a_step_has_the_size_of_adams() -> None:
    net = nn.Linear(64, 48, bias=False)
    start = net.weight.detach().clone()
    section = SECTION.model_copy(update={"weight_decay": 0.0})
    Muon(net, section, torch.tensor(0.01)).update(gradients(net, 0), divisor=ONE, skip=ZERO)
    size = float((net.weight.detach() - start).square().mean().sqrt())
    assert size == pytest.approx(0.01 * 0.2 * 0.9, rel=0.1)  # the mean of 0.7 to 1.2 is a little below 1


@pytest.mark.parametrize("bad", [1.0, math.inf, math.nan])
def test_a_step_that_is_skipped_changes_nothing(bad: float) -> None:
    net, other = network(), network()
    optimizer, undisturbed = (Muon(each, SECTION, torch.tensor(0.01)) for each in (net, other))
    optimizer.update(gradients(net, 0), divisor=ONE, skip=ZERO)
    optimizer.update([gradient * bad for gradient in gradients(net, 1)], divisor=ONE, skip=ONE)
    optimizer.update(gradients(net, 2), divisor=ONE, skip=ZERO)
    for seed in (0, 2):
        undisturbed.update(gradients(other, seed), divisor=ONE, skip=ZERO)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_saved_state_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    net, other = network(), network()
    optimizer, continued = (Muon(each, SECTION, torch.tensor(0.01)) for each in (net, other))
    optimizer.update(gradients(net, 0), divisor=ONE, skip=ZERO)
    store = CheckpointStore(tmp_path, every_seconds=1e9)
    store.save({"step": 1, "optimizer": optimizer.state_dict()})
    store.wait()
    saved = store.load(torch.device("cpu"))
    assert saved is not None
    continued.load_state_dict(saved["optimizer"])
    other.load_state_dict(net.state_dict())
    for each, network_of in ((optimizer, net), (continued, other)):
        each.update(gradients(network_of, 1), divisor=ONE, skip=ZERO)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
