"""The optimizer that a recipe names."""

from collections.abc import Sequence
from typing import Any, Protocol, assert_never

from torch import Tensor, nn

from linnet.recipe import Adam as AdamSection
from linnet.recipe import AdamW as AdamWSection
from linnet.recipe import Muon as MuonSection
from linnet.training.adam import Adam
from linnet.training.muon import Muon


class Optimizer(Protocol):
    """Takes the steps of the parameters that it was made for."""

    def update(self, gradients: Sequence[Tensor], *, divisor: Tensor, skip: Tensor) -> None:
        """Take a step with `gradients / divisor`; none where the scalar `skip` is 1. Waits for no device."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors that continue the run."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved."""


def build_optimizer(
    network: nn.Module, section: AdamSection | AdamWSection | MuonSection, learning_rate: Tensor
) -> Optimizer:
    """For the parameters of `network` that need gradients, in their order; the rate is read in each step."""
    match section:
        case AdamSection() | AdamWSection():
            parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
            return Adam(parameters, section, learning_rate)
        case MuonSection():
            return Muon(network, section, learning_rate)
        case _:
            assert_never(section)
