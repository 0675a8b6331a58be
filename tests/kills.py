"""Kill a training of two processes at random moments, again and again, and compare the bytes: `make kills`.

Every kill is a SIGKILL of the whole process group, or of the parent alone, at a random time of a run that is then
repeated until it ends. Weights, history and all other files of the model must be those of a run nobody disturbed.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from linnet.hashes import folder_hash
from linnet.stages import preprocess
from support.tiny import tiny_raw_data, tiny_recipe, write_recipe

NAME = "birds-tiny"
MUON = "train.optimizer={ kind = 'muon', momentum = 0.95, beta1 = 0.9, beta2 = 0.99, weight_decay = 0.01 }"
LEAST_SECONDS = 1.0  # before a kill; imports take longer
ORPHANS_SECONDS = 30.0  # that workers whose parent was killed may take to notice


def main() -> int:
    """Print each kill; 1 where a model differs or a repeated command refuses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = tiny_recipe("train.batch_size=8", "train.duration_kexamples=4", "train.grid_every_kexamples=1", MUON)
        path = write_recipe(folder, recipe)
        preprocess.run(recipe.data, raw=tiny_raw_data(folder / "raw"), out=folder / "dataset", workers=1)
        started = time.monotonic()
        _start(folder / "whole", path).wait()
        whole_seconds = time.monotonic() - started
        whole = folder_hash(folder / "whole" / NAME / "model")
        killed = finished = 0
        while killed < options.kills:
            build = folder / f"killed{finished}"
            while not (build / NAME / "model").is_dir():
                parent_only = rng.random() < 0.5
                seconds = rng.uniform(LEAST_SECONDS, whole_seconds)
                process = _start(build, path)
                try:
                    status = process.wait(seconds)
                except subprocess.TimeoutExpired:
                    _kill(process, parent_only=parent_only)
                    killed += 1
                    print(f"kill {killed}: {'parent' if parent_only else 'group'} after {seconds:.1f} s", flush=True)
                else:
                    if status:
                        print(f"refused with status {status}")
                        return 1
            finished += 1
            if folder_hash(build / NAME / "model") != whole:
                print("the model differs")
                return 1
            shutil.rmtree(build)
    print(f"{killed} kills, {finished} trainings, every one with the bytes of the undisturbed one")
    return 0


def _start(build: Path, recipe: Path) -> subprocess.Popen[bytes]:
    dataset = build / NAME / "dataset"
    if not dataset.is_dir():
        shutil.copytree(recipe.parent / "dataset", dataset)
    command = [
        sys.executable,
        "-m",
        "linnet",
        "train",
        str(recipe),
        "--build",
        str(build),
        "--work",
        str(build / "work"),
    ]
    return subprocess.Popen(
        [*command, "--processes", "2", "--checkpoint-seconds", "0.5", "--no-track"],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


def _kill(process: subprocess.Popen[bytes], *, parent_only: bool) -> None:
    if parent_only:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + ORPHANS_SECONDS
    while _group_lives(process.pid):
        if time.monotonic() > deadline:
            raise TimeoutError("workers outlive their parent")
        time.sleep(0.1)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
