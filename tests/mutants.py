"""Break the core on purpose, one way after another, and see that a test notices: `make mutants`.

Each mutant is a copy of src/ in which one piece of text is replaced; the tests that guard it run against the copy. A
mutant that survives is a fault that could be made tomorrow without anybody noticing. mutants.toml lists them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MUTANTS = Path(__file__).with_suffix(".toml")


class Mutant(NamedTuple):
    """A fault, and the tests that should notice it."""

    fault: str
    file: str  # under src/linnet
    text: str
    replacement: str
    tests: str


def main() -> int:
    """Print what noticed each mutant; the number of survivors is the exit status."""
    mutants = [Mutant(**table) for table in tomllib.loads(MUTANTS.read_text(encoding="utf-8"))["mutant"]]
    chosen = [each for each in mutants if not sys.argv[1:] or any(word in each.fault for word in sys.argv[1:])]
    survivors = 0
    for mutant in chosen:
        survived = _survives(mutant)
        survivors += survived
        print(f"{'SURVIVES' if survived else 'noticed ':8}  {mutant.fault}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants noticed")
    return survivors


def _survives(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / "linnet" / mutant.file
        text = path.read_text(encoding="utf-8")
        assert text.count(mutant.text) == 1, f"{mutant.fault}: {mutant.file} has no single {mutant.text!r}"
        path.write_text(text.replace(mutant.text, mutant.replacement), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", mutant.tests, "-m", "not e2e"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stdout.decode()
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
