"""Alternating runs of several implementations: median rates and their ratio."""

import platform
import statistics
import time
from collections.abc import Callable

import torch


def compare(
    title: str, implementations: dict[str, Callable[[], object]], *, units: int, unit: str, rounds: int
) -> None:
    """Print each implementation's median rate in `unit` per second; every round runs all in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    for run in implementations.values():
        run()  # warm-up
    for _ in range(rounds):
        for name, run in implementations.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    print(f"{title} ({platform.machine()}, {torch.get_num_threads()} threads, {rounds} alternating rounds)")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    slowest = max(medians.values())
    for name, median in medians.items():
        spread = (max(seconds[name]) - min(seconds[name])) / median
        print(f"  {name:<34} {units / median:9.1f} {unit}/s   {slowest / median:5.2f}x   spread {spread:.0%}")
