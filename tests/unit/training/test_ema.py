import torch
from torch import nn

from linnet.training.ema import EMA


def test_average_follows_the_closed_form() -> None:
    """Weights 1, 2, 3, ... under decay d_k = min(0.9, (1 + k) / (10 + k)), computed by hand in float64."""
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(0.0)
    averaged = EMA(network, 0.9)
    expected = 0.0
    for step in range(200):
        with torch.no_grad():
            network.weight.fill_(step + 1.0)
        averaged.update(torch.tensor(averaged.weight(step)))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    assert abs(float(averaged.network.weight) - expected) < 1e-3  # type: ignore[arg-type]
    assert abs(200 - expected) > 5  # it lags, as an average must


def test_batch_norm_statistics_are_averaged_and_the_copy_is_its_own() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    averaged = EMA(network, 0.5)
    network(torch.randn(16, 3) * 5 + 2)
    before = averaged.network.state_dict()["1.running_mean"].clone()
    averaged.update(torch.tensor(averaged.weight(10**6)))
    halfway = (before + network.state_dict()["1.running_mean"]) / 2
    torch.testing.assert_close(averaged.network.state_dict()["1.running_mean"], halfway)
    assert not averaged.network.training
    assert all(not parameter.requires_grad for parameter in averaged.network.parameters())
