"""Adam and AdamW on the kernels that torch.optim's fused optimizers call, without the classes around them.

Those import torch's compiler when they are made (four seconds of a short run) and walk their parameter groups in every
step. Here the rate and the step are tensors, so that a CUDA graph can replay an update with other values.
"""

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import Tensor

from linnet.recipe import Adam as AdamSection
from linnet.recipe import AdamW as AdamWSection

EPS = 1e-8  # Kingma & Ba 2015, algorithm 1


class Adam:
    """Adam (Kingma & Ba 2015), or with decoupled weight decay (Loshchilov & Hutter 2019), in place.

    Args:
        parameters: float32, on one device.
        learning_rate: a scalar on that device, read in each step.
    """

    def __init__(
        self, parameters: Sequence[Tensor], section: AdamSection | AdamWSection, learning_rate: Tensor
    ) -> None:
        self._parameters, self._section, self._learning_rate = list(parameters), section, learning_rate
        self.moments = [torch.zeros_like(parameter) for parameter in parameters]  # means of gradients
        self.squares = [torch.zeros_like(parameter) for parameter in parameters]  # means of their squares
        self.step = torch.zeros((), device=learning_rate.device)  # float32, as the kernels want it

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], *, divisor: Tensor, skip: Tensor) -> None:
        """Take a step with `gradients / divisor`; none where the scalar `skip` is 1."""
        self.step.add_(1 - skip)
        section = self._section
        match section:
            case AdamSection():
                fused, weight_decay = torch._fused_adam_, 0.0
            case AdamWSection():
                fused, weight_decay = torch._fused_adamw_, section.weight_decay
            case _:
                assert_never(section)
        fused(
            self._parameters,
            list(gradients),
            self.moments,
            self.squares,
            [],
            [self.step] * len(self._parameters),
            lr=self._learning_rate,
            beta1=section.beta1,
            beta2=section.beta2,
            weight_decay=weight_decay,
            eps=EPS,
            amsgrad=False,
            maximize=False,
            grad_scale=divisor,
            found_inf=skip,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors that continue the run."""
        return {"moments": self.moments, "squares": self.squares, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved."""
        for name in ("moments", "squares"):
            for kept, saved in zip(getattr(self, name), state[name], strict=True):
                kept.copy_(saved)
        self.step.copy_(state["step"])
