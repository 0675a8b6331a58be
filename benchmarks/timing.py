"""Alternating runs of two contenders, medians and their ratio."""

import platform
import statistics
import time
from collections.abc import Callable

import torch


def compare(title: str, contenders: dict[str, Callable[[], object]], *, units: int, unit: str, rounds: int) -> None:
    """Print each contender's median rate in `unit` per second; every round runs all of them, one after the other."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for work in contenders.values():
        work()  # warm-up
    for _ in range(rounds):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    print(f"{title} ({platform.machine()}, {torch.get_num_threads()} threads, {rounds} alternating rounds)")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    slowest = max(medians.values())
    for name, median in medians.items():
        spread = (max(seconds[name]) - min(seconds[name])) / median
        print(f"  {name:<34} {units / median:9.1f} {unit}/s   {slowest / median:5.2f}x   spread {spread:.0%}")
