"""The faults that `make mutants` makes are still possible: the text they replace is there once, and their tests."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["fault"] for mutant in MUTANTS])
def test_a_mutant_fits_the_code(mutant: dict[str, str]) -> None:
    text = (ROOT / "src" / "linnet" / mutant["file"]).read_text(encoding="utf-8")
    assert text.count(mutant["text"]) == 1
    assert mutant["text"] != mutant["replacement"]
    for path in mutant["tests"].split():
        assert (ROOT / path.partition("::")[0]).exists()
