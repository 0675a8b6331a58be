"""The network that a recipe names."""

from typing import assert_never

import torch

from linnet.models.compact_unet import CompactUNet
from linnet.models.denoising_network import DenoisingNetwork
from linnet.models.dit import DiT
from linnet.models.unet import UNet
from linnet.recipe import TrainingRecipe
from linnet.recipe import model as sections


def build_network(recipe: TrainingRecipe) -> DenoisingNetwork:
    """The untrained network of a recipe, seeded by `train.seed`, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        shape, conditioning = recipe.data.shape, recipe.conditioning
        match recipe.model:
            case sections.CompactUNet():
                return CompactUNet(recipe.model, shape=shape, conditioning=conditioning)
            case sections.UNet():
                return UNet(recipe.model, shape=shape, conditioning=conditioning)
            case sections.DiffusionTransformer():
                return DiT(recipe.model, shape=shape, conditioning=conditioning)
            case _:
                assert_never(recipe.model)
