"""What all networks have in common: built from a recipe, they keep the shape of the examples and name their noise."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from linnet.models.build import build_network
from linnet.models.denoising_network import DenoisingNetwork
from linnet.recipe import ModelSection, NoiseLevel, Recipe
from support.tiny import tiny_audio_recipe, tiny_music_recipe, tiny_recipe

NETWORKS: list[tuple[Recipe, NoiseLevel]] = [
    (tiny_recipe(), "noise_variance"),
    (tiny_audio_recipe(), "timestep"),
    (tiny_music_recipe(), "timestep"),
]


def test_every_network_is_tried() -> None:
    assert {type(recipe.model) for recipe, _ in NETWORKS} == set(get_args(get_args(ModelSection)[0]))


@pytest.mark.parametrize(("recipe", "noise_level"), NETWORKS, ids=[recipe.model.kind for recipe, _ in NETWORKS])
def test_networks_keep_the_shape_and_name_their_noise_level(recipe: Recipe, noise_level: NoiseLevel) -> None:
    network = build_network(recipe.training())
    assert isinstance(network, DenoisingNetwork)
    assert network.noise_level == noise_level
    x_t = torch.randn(2, *recipe.data.shape)
    assert network(x_t, torch.tensor([0.1, 0.9]), None).shape == x_t.shape


def test_a_network_without_forward_or_noise_level_cannot_be_made() -> None:
    class Incomplete(DenoisingNetwork):
        noise_level: NoiseLevel = "timestep"

    class Unnamed(DenoisingNetwork):
        def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
            return x_t

    class Complete(Incomplete):
        def forward(self, x_t: Tensor, noise_level: Tensor, condition: Tensor | None) -> Tensor:
            return x_t

    with pytest.raises(TypeError, match=r"abstract.*forward"):
        Incomplete()  # type: ignore[abstract]
    with pytest.raises(TypeError, match=r"abstract.*noise_level"):
        Unnamed()  # type: ignore[abstract]
    x_t = torch.randn(1, 1, 2, 2)
    assert torch.equal(Complete()(x_t, torch.zeros(1), None), x_t)
