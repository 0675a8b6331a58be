"""From the recipe to a network."""

import torch

from linnet.models.build import build_network
from support.tiny import tiny_recipe


def test_networks_are_seeded_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_network(tiny_recipe().training()).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = build_network(tiny_recipe().training()).state_dict()
    other = build_network(tiny_recipe("train.seed=1").training()).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])
