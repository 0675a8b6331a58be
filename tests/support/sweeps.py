"""Small sweeps of the tiny recipe."""

from pathlib import Path

from pipelines.sweep_file import Sweep, read_sweep

START = 'recipe = "birds-tiny"\nmetric = "frechet_thumbnail"\nseeds = [0, 1]\n'
GRID = '[grid]\n"train.learning_rate" = [0.001, 0.002]\n'
SPACE = "[search]\ntrials = 8\nstartup_trials = 3\nsampler_seed = 0\n[search.space]\n"
RATE = '"train.learning_rate" = { low = 0.0001, high = 0.01, log = true }\n'


def sweep_of(text: str, folder: Path) -> Sweep:
    """`text` as a sweep named tiny."""
    path = folder / "tiny.toml"
    path.write_text(text)
    return read_sweep(path)
