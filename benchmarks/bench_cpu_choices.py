"""What a training step on a CPU would cost with the choices that linnet did not make (docs/performance.md).

Layout of images, kernel of attention, convolutions, precision, optimizer: each variant differs from what is shipped in
one of them, all take turns in one run, and rates are medians. Set OMP_NUM_THREADS for the number of threads.

    python benchmarks/bench_cpu_choices.py [--recipes birds-demo,music-demo] [--precision bf16] [--json FILE]
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.models import attention, device
from linnet.models.convolutions import DoublingConv, PointwiseConv
from linnet.recipe import Precision
from linnet.recipe.load import load_recipe
from linnet.training import loss
from linnet.training.distributed import DistributedContext
from linnet.training.execution import EAGER
from linnet.training.rehearsal import rehearse
from timing import arguments, compare, write_json

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


class Variant(NamedTuple):
    """One way to compute a step."""

    channels_last: bool = False
    product_tokens: int = attention.CPU_PRODUCT_TOKENS
    precision: Precision | None = None  # another than is asked for
    plain_convolutions: bool = False
    optimizer: str | None = None  # another than the recipe's


VARIANTS = {
    "channels last": Variant(channels_last=True),
    "torch's attention": Variant(product_tokens=0),
    "torch's convolutions": Variant(plain_convolutions=True),
    "fp32": Variant(precision="fp32"),
    "AdamW": Variant(optimizer="{kind='adamw', beta1=0.9, beta2=0.99, weight_decay=0.01}"),
    "Muon": Variant(optimizer="{kind='muon', momentum=0.95, beta1=0.9, beta2=0.99, weight_decay=0.01}"),
}


def main() -> None:
    """Compare all variants on each recipe; what is shipped comes last."""
    parser = arguments(__doc__)
    parser.add_argument("--recipes", default="birds-demo,music-demo,vocals-demo", help="separated by commas")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or auto: what this processor has units for")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    variants = VARIANTS | {"as shipped": Variant()}
    for name in options.recipes.split(","):
        batch = load_recipe(ROOT / "recipes" / f"{name}.toml").train.batch_size
        steps: dict[str, Callable[[], object]] = {
            title: _step(name, options.precision, each) for title, each in variants.items()
        }
        compare(
            f"training step, {name}, batch {batch}, {options.precision}",
            steps,
            units=batch,
            unit="examples",
            rounds=options.rounds,
            warmups=3,
        )
        write_json(options.json)


def _step(name: str, precision: str, variant: Variant) -> Callable[[], None]:
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    overrides = [f"train.precision={variant.precision or precision}"]
    if variant.optimizer:
        overrides.append(f"train.optimizer={variant.optimizer}")
    recipe = load_recipe(ROOT / "recipes" / f"{name}.toml", overrides).training()
    distributed = DistributedContext.single_process(CPU)
    with patch.object(device, "memory_format", lambda _: layout):
        take = rehearse(recipe, distributed, EAGER)

    def step() -> None:
        with (
            patch.object(loss, "memory_format", lambda _: layout),
            patch.object(attention, "CPU_PRODUCT_TOKENS", variant.product_tokens),
            _plain_convolutions() if variant.plain_convolutions else nullcontext(),
        ):
            take()

    return step


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    def double(layer: DoublingConv, x: Tensor) -> Tensor:
        return nn.Conv2d.forward(layer, F.interpolate(x, scale_factor=2, mode="nearest"))

    with patch.object(DoublingConv, "forward", double), patch.object(PointwiseConv, "forward", nn.Conv2d.forward):
        yield


if __name__ == "__main__":
    main()
