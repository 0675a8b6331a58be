"""What it costs two processes of one thread to train together on a CPU, and what keeping freed memory saves.

Each way runs in processes of its own, all take turns, and rates are medians over the rounds of median steps. The first
is what DistributedDataParallel does over gloo; in the last each process trains half of the batch and knows nothing of
the other, which no way of training together can beat.

    python benchmarks/bench_processes.py [--recipes birds-demo,music-demo,vocals-demo] [--json FILE]
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch

from linnet.launch import torchrun
from linnet.recipe.load import load_recipe
from linnet.training import distributed, shared_average
from linnet.training.distributed import DistributedContext, distributed_context
from linnet.training.execution import EAGER
from linnet.training.rehearsal import rehearse
from timing import arguments, compare_seconds, write_json

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
PROCESSES, WARMUPS, STEPS = 2, 10, 60


class Way(NamedTuple):
    """How the processes train."""

    together: bool = True
    shares_memory: bool = True
    keeps_memory: bool = True


WAYS = {
    "through sockets (gloo)": Way(shares_memory=False),
    "shared memory, freed memory given back": Way(keeps_memory=False),
    "as shipped: shared memory": Way(),
    "two that know nothing of each other": Way(together=False),
}


def main() -> None:
    """Print the rates of all ways for each recipe."""
    parser = arguments(__doc__)
    parser.add_argument("--recipes", default="birds-demo,music-demo,vocals-demo", help="separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name in options.recipes.split(","):
        batch = load_recipe(ROOT / "recipes" / f"{name}.toml").train.batch_size
        ways: dict[str, Callable[[], float]] = {title: _measured(name, way) for title, way in WAYS.items()}
        title = f"training step, {name}, batch {batch}, {PROCESSES} processes"
        compare_seconds(title, ways, units=batch, unit="examples", rounds=options.rounds)
        write_json(options.json)


def _measured(name: str, way: Way) -> Callable[[], float]:
    def measure() -> float:
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as found:
            torchrun.start(_train, name, way, Path(found.name), processes=PROCESSES)
            return float(found.read())

    return measure


def _train(name: str, way: Way, out: Path) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.toml").training()
    with (
        nullcontext() if way.keeps_memory else patch.object(distributed, "set_up", lambda _: None),
        nullcontext() if way.shares_memory else patch.object(shared_average, "_reserve", lambda _: ""),
        distributed_context(CPU, batch_size=recipe.train.batch_size) as context,
    ):
        if not way.together:
            half = recipe.train.model_copy(update={"batch_size": recipe.train.batch_size // PROCESSES})
            recipe = recipe.model_copy(update={"train": half})
        alone = DistributedContext.single_process(CPU)
        step = rehearse(recipe, context if way.together else alone, EAGER)
        seconds = []
        for _ in range(WARMUPS + STEPS):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
        if context.is_main_process:
            out.write_text(str(statistics.median(seconds[WARMUPS:])), encoding="utf-8")
        context.all_reduce_max(0)  # nobody leaves while the other is being timed


if __name__ == "__main__":
    main()
