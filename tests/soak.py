"""Train for a long time and watch the memory of the process: `make soak` (an hour).

birds-demo on its built-in data in one thread, with everything a long training does: grids, checkpoints, MLflow. Every
minute the resident memory is printed; at the end the mean of the last tenth is compared with that of the second.
Minutes are of the processor, so the training may be paused, or share the machine.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from linnet.recipe.load import load_recipe
from linnet.stages import ingest, preprocess

RECIPE = Path(__file__).parents[1] / "recipes" / "birds-demo.toml"
SETTINGS = ["train.duration_kexamples=1e6", "train.grid_every_kexamples=4"]
MOST_GROWTH = 0.02
LEAST_READINGS = 3


def main() -> int:
    """Print resident memory; 1 where it grew by more than 2 %, or the training ended by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=60, help="seconds between readings")
    options = parser.parse_args()
    if options.minutes * 60 < LEAST_READINGS * options.every:
        parser.error(f"give time for {LEAST_READINGS} readings: more --minutes, or fewer seconds for --every")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = load_recipe(RECIPE)
        ingest.run(recipe.data, source=None, out=folder / "raw", work=folder / "work")
        preprocess.run(recipe.data, raw=folder / "raw", out=folder / recipe.name / "dataset", workers=1)
        process = _train(folder)
        try:
            readings = _watch(process, options.minutes * 60, options.every)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
    tenth = max(1, len(readings) // 10)
    before, after = statistics.mean(readings[tenth : 2 * tenth]), statistics.mean(readings[-tenth:])
    print(f"resident memory {before:.1f} MiB -> {after:.1f} MiB ({after / before - 1:+.2%})")
    return int(after > before * (1 + MOST_GROWTH))


def _train(folder: Path) -> subprocess.Popen[bytes]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "linnet", "train", str(RECIPE), *settings, "--processes", "1"]
    return subprocess.Popen(
        [*command, "--build", str(folder), "--work", str(folder / "work")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _watch(process: subprocess.Popen[bytes], seconds: float, every: float) -> list[float]:
    """Resident memory in MiB, read every so often."""
    status, readings = Path(f"/proc/{process.pid}/status"), list[float]()
    while every * len(readings) < seconds:
        time.sleep(1)
        if process.poll() is not None:
            raise RuntimeError(f"the training ended with status {process.returncode}")
        computed = _processor_seconds(process.pid)
        if computed < every * (len(readings) + 1):
            continue
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        assert found is not None, "a living process has resident memory"
        readings.append(int(found[1]) / 1024)
        print(f"{computed / 60:5.1f} min: {readings[-1]:.1f} MiB", flush=True)
    return readings


def _processor_seconds(pid: int) -> float:
    """That all threads of a process have computed; proc(5) numbers the fields after the name in parentheses."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
