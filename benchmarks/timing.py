"""Alternating runs of several implementations: median rates and their ratio, for people and as JSON."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

CPU = torch.device("cpu")
RESULTS: list["Result"] = []


@dataclass(frozen=True)
class Result:
    """One comparison; rates are medians over the rounds."""

    title: str
    unit: str
    machine: str
    rates: dict[str, float]
    spreads: dict[str, float]  # (slowest - fastest round) / median
    ratio: float  # of the last implementation's rate to the first one's: linnet comes last
    rounds: int


def compare(
    title: str,
    implementations: dict[str, Callable[[], object]],
    *,
    units: int,
    unit: str,
    rounds: int,
    device: torch.device = CPU,
    warmups: int = 1,
) -> Result:
    """Print each implementation's median rate in `unit` per second; every round runs all in turn."""
    for run in implementations.values():
        for _ in range(warmups):
            run()
    timed = {name: _timed(run, device) for name, run in implementations.items()}
    return compare_seconds(title, timed, units=units, unit=unit, rounds=rounds, device=device)


def compare_seconds(
    title: str,
    implementations: dict[str, Callable[[], float]],
    *,
    units: int,
    unit: str,
    rounds: int,
    device: torch.device = CPU,
) -> Result:
    """`compare` of implementations that say themselves how many seconds `units` took them."""
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    for _ in range(rounds):
        for name, run in implementations.items():
            seconds[name].append(run())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    names = list(implementations)
    result = Result(
        title=title,
        unit=f"{unit}/s",
        machine=_machine(device),
        rates={name: units / median for name, median in medians.items()},
        spreads={name: (max(values) - min(values)) / medians[name] for name, values in seconds.items()},
        ratio=medians[names[0]] / medians[names[-1]],
        rounds=rounds,
    )
    RESULTS.append(result)
    print(f"{title} ({result.machine}, {rounds} alternating rounds)", flush=True)
    for name in names:
        rate = f"{result.rates[name]:10.1f} {unit}/s"
        ratio = medians[names[0]] / medians[name]
        print(f"  {name:<36} {rate}   {ratio:5.2f}x   spread {result.spreads[name]:.0%}", flush=True)
    return result


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The option that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write all results here")
    return parser


def write_json(path: Path | None) -> None:
    """Write what has been compared so far."""
    if path is not None:
        path.write_text(json.dumps([asdict(result) for result in RESULTS], indent=2) + "\n", encoding="utf-8")


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _timed(run: Callable[[], object], device: torch.device) -> Callable[[], float]:
    def seconds() -> float:
        _wait(device)
        started = time.perf_counter()
        run()
        _wait(device)
        return time.perf_counter() - started

    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
