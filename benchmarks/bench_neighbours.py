"""Sampling beside busy processes: threads that divide the rows of a batch, or the work of each kernel.

The first is what linnet does on a CPU (models/row_threads.py), the second what torch does by itself. Both take turns.

    python benchmarks/bench_neighbours.py [--recipes birds-demo,music-demo,vocals-demo] [--busy 0,1,2] [--json FILE]
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from bench_sample import linnet_sampling
from linnet.inference import diffusion_model
from linnet.models.device import pick_device
from linnet.models.row_threads import map_rows
from linnet.processes import end_with_parent
from linnet.recipe import Recipe
from linnet.recipe.load import load_recipe
from timing import arguments, compare, write_json

ROOT = Path(__file__).parents[1]
COUNT, STEPS = 64, 8
Map = Callable[..., Tensor]


def main() -> None:
    """Compare both for each recipe and each number of neighbours."""
    parser = arguments(__doc__)
    parser.add_argument("--recipes", default="birds-demo,music-demo,vocals-demo", help="separated by commas")
    parser.add_argument("--busy", default="0,1,2", help="numbers of busy processes, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name in options.recipes.split(","):
        recipe = load_recipe(ROOT / "recipes" / f"{name}.toml")
        for busy in map(int, options.busy.split(",")):
            ways: dict[str, Callable[[], object]] = {
                "threads share each kernel": _sampling(recipe, _all_rows),
                "threads share the rows": _sampling(recipe, map_rows),
            }
            with _busy(busy):
                compare(
                    f"sampling, {name}, {STEPS} steps, beside {busy} busy processes",
                    ways,
                    units=COUNT,
                    unit="examples",
                    rounds=options.rounds,
                )
            write_json(options.json)


def _sampling(recipe: Recipe, mapping: Map) -> Callable[[], object]:
    sample = linnet_sampling(recipe.training(), pick_device("cpu"), count=COUNT, steps=STEPS)

    def mapped() -> object:
        with patch.object(diffusion_model, "map_rows", mapping):
            return sample()

    return mapped


def _all_rows(function: Map, *rows: Tensor | None, device: torch.device) -> Tensor:
    return function(*rows)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [multiprocessing.get_context("spawn").Process(target=_compute, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _compute() -> None:
    end_with_parent()
    while True:
        pass


if __name__ == "__main__":
    main()
