"""What a training step on a CPU would cost with the choices that linnet did not make (docs/performance.md).

Layout of images, kernel of attention, precision, compiler: each variant differs from what is shipped in one of them,
all take turns in one run, and rates are medians. Set OMP_NUM_THREADS for the number of threads.

    python benchmarks/bench_cpu_choices.py [--recipes birds-demo,music-demo,vocals-demo] [--compile] [--json FILE]
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from linnet.modalities.dispatch import get_modality
from linnet.modalities.statistics import neutral_statistics
from linnet.models import attention
from linnet.models.build import build_network
from linnet.recipe import Precision
from linnet.recipe.load import load_recipe
from linnet.training import loss
from linnet.training.distributed import DistributedContext
from linnet.training.execution import Execution
from linnet.training.loss import DiffusionLoss
from linnet.training.state import new_state
from linnet.training.step import TrainStep
from timing import arguments, compare, write_json

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
NUM_EXAMPLES = 64


class Variant(NamedTuple):
    """One way to compute a step."""

    channels_last: bool = False
    product_tokens: int = attention.CPU_PRODUCT_TOKENS
    precision: Precision = "bf16"
    compiled: bool = False


VARIANTS = {
    "channels last": Variant(channels_last=True),
    "torch's attention": Variant(product_tokens=0),
    "fp32": Variant(precision="fp32"),
}


def main() -> None:
    """Compare all variants on each recipe; what is shipped comes last."""
    parser = arguments(__doc__)
    parser.add_argument("--recipes", default="birds-demo,music-demo,vocals-demo", help="separated by commas")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile, which first takes minutes")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    variants = VARIANTS | ({"compiled": Variant(compiled=True)} if options.compile else {}) | {"as shipped": Variant()}
    for name in options.recipes.split(","):
        batch = load_recipe(ROOT / "recipes" / f"{name}.toml").train.batch_size
        steps: dict[str, Callable[[], object]] = {title: _step(name, each) for title, each in variants.items()}
        compare(
            f"training step, {name}, batch {batch}, bf16",
            steps,
            units=batch,
            unit="examples",
            rounds=options.rounds,
            warmups=3,
        )
        write_json(options.json)


def _step(name: str, variant: Variant) -> Callable[[], None]:
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    overrides = [f"train.precision={variant.precision}"]
    recipe = load_recipe(ROOT / "recipes" / f"{name}.toml", overrides).training()
    network = build_network(recipe).to(memory_format=layout)  # type: ignore[call-overload]
    state = new_state(network, recipe.train, DistributedContext.single_process(CPU))
    shape, dtype = get_modality(recipe.data).stored
    objective = DiffusionLoss(
        recipe,
        neutral_statistics(recipe.data),
        np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, *shape)).astype(dtype),
        np.zeros(NUM_EXAMPLES, dtype=np.int64),
        state.distributed,
        noise_level=network.noise_level,
        start_step=0,
    )
    take = TrainStep(state, recipe.train, objective, Execution(compiled=variant.compiled, graphed=False))

    def step() -> None:
        with (
            patch.object(loss, "memory_format", lambda _: layout),
            patch.object(attention, "CPU_PRODUCT_TOKENS", variant.product_tokens),
        ):
            take()

    return step


if __name__ == "__main__":
    main()
