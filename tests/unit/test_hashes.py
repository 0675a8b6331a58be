"""Hashes of folders and of code: what counts, and what does not."""

import ast
import hashlib
import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import linnet
from linnet.hashes import Stage, _canonical, code_files, code_hash, file_hash, files_hash, folder_hash
from linnet.stages import STAGES
from linnet.stages.table import result_code_hash

PACKAGE = Path(linnet.__file__).parent
COMPUTING = {"preprocess", "train", "sample", "restore", "evaluate"}
BEHIND_TRAINING = {"sample", "restore", "evaluate"}


def fill(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


def test_a_file_hash_is_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_folder_hash_is_the_digest_of_its_sorted_list(tmp_path: Path) -> None:
    fill(tmp_path, ["b", "a/c", "a.b", "provenance.json", "a/provenance.json"])
    lines = [
        f"{name}\0{hashlib.sha256(f'content of {name}'.encode()).hexdigest()}\n"
        for name in ["a.b", "a/c", "a/provenance.json", "b"]
    ]
    assert folder_hash(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_folder_hash_ignores_creation_order_and_times(tmp_path: Path) -> None:
    names = [f"{index % 7}/{index}" for index in range(40)]
    one, other = fill(tmp_path / "one", names), fill(tmp_path / "other", names[::-1])
    os.utime(other / names[0], (1, 1))
    assert folder_hash(one) == folder_hash(other)


def test_a_folder_hash_sees_names_contents_and_locations(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", ["a", "b", "c/d"])
    seen = [folder_hash(folder)]
    (folder / "a").write_text("changed")
    seen.append(folder_hash(folder))
    (folder / "a").rename(folder / "e")
    seen.append(folder_hash(folder))
    (folder / "e").rename(folder / "c" / "e")
    seen.append(folder_hash(folder))
    (folder / "c" / "e").unlink()
    seen.append(folder_hash(folder))
    (folder / "empty").write_text("")
    seen.append(folder_hash(folder))
    assert len(set(seen)) == len(seen)
    assert folder_hash(folder, leave_out=("empty",)) == seen[-2]


def test_the_hash_of_some_files_is_that_of_a_folder_of_them(tmp_path: Path) -> None:
    folder, part = fill(tmp_path / "folder", ["a", "b", "c/d"]), fill(tmp_path / "part", ["a", "c/d"])
    assert files_hash(folder, ["c/d", "a"]) == folder_hash(part)


SOURCE = """
import math

def scale(x, factor):
    '''Twice.'''
    assert factor > 0, "a bug"
    if x < 0:
        raise ValueError(f"{x} is below 0")
    with ProgressBar("scale: examples", 3):
        log(f"scaling {x}")
    return x * factor  # as the paper says
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("'''Twice.'''", "'''As often as `factor` says.'''"),
        ("  # as the paper says", ""),
        ("x * factor", "(x\n        * factor)"),
        ("is below 0", "is negative: give 0 or more"),
        ("scale: examples", "scaled"),
        ("scaling {x}", "{x} is scaled"),
        ("a bug", "a mistake of ours"),
    ],
)
def test_what_only_people_read_is_no_part_of_the_code(before: str, after: str) -> None:
    assert before in SOURCE
    assert _canonical(ast.parse(SOURCE)) == _canonical(ast.parse(SOURCE.replace(before, after)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x * factor", "x + factor"),
        ("x * factor", "factor * x"),
        ("x < 0", "x < 1"),
        ("ValueError", "TypeError"),
        ("factor > 0", "factor >= 0"),
        ("import math", "import cmath"),
        ("def scale", "def scaled"),
        ("return x * factor", "return (x * factor,)"),
        ("return x * factor", "x * factor"),
        ("return x * factor", "return 'x * factor'"),
    ],
)
def test_what_computes_is_a_part_of_the_code(before: str, after: str) -> None:
    assert before in SOURCE
    assert _canonical(ast.parse(SOURCE)) != _canonical(ast.parse(SOURCE.replace(before, after)))


def test_the_files_of_a_stage_are_those_that_it_declares() -> None:
    stage = Stage("sample", ("data",), (), "samples", ("diffusion", "models.dit"), ("diffusion.operators",), ())
    files = code_files(stage)
    assert {"stages/sample.py", "recipe/data.py", "recipe/section.py", "models/dit.py"} < set(files)
    assert {f"diffusion/{name}.py" for name in ("samplers", "schedule")} < set(files)
    assert not {"diffusion/operators.py", "diffusion/__init__.py", "models/unet.py", "recipe/load.py"} & set(files)
    assert files == sorted(files)


@pytest.fixture
def package_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    copy = tmp_path / "linnet"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(linnet, "__file__", str(copy / "__init__.py"))
    code_hash.cache_clear()
    yield copy
    code_hash.cache_clear()


def hashes() -> dict[str, str]:
    code_hash.cache_clear()
    return {stage.name: code_hash(stage) for stage in STAGES}


def changed_since(before: dict[str, str]) -> set[str]:
    after = hashes()
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("files", "pattern", "replacement"),
    [
        ("reports/**/*.html", r"</", "<!-- a nicer page --></"),
        ("**/*.py", r'(raise \w+\(\s*f?")', r"\1Sorry: "),  # of errors, such as those about S3
        ("**/*.py", r'(ProgressBar\(\s*f?")', r"\1now "),
        ("**/*.py", r'(\blog\(\s*f?")', r"\1Look: "),
        ("**/*.py", r'(:\n +""")(?=\w)', r"\1In other words: "),  # docstrings of functions and classes
        ("**/*.py", r"\A", "# What a comment says\n"),
        ("storage/*.py", r"\Z", "\nPARALLEL_PARTS = 7\n"),
        ("tracking/*.py", r"\Z", "\nPATIENCE = 7\n"),
    ],
)
def test_pages_messages_labels_and_transport_decide_no_result(
    package_copy: Path, files: str, pattern: str, replacement: str
) -> None:
    before, changes = hashes(), 0
    for path in package_copy.glob(files):
        text, count = re.subn(pattern, replacement, path.read_text())
        path.write_text(text)
        changes += count
    assert changes > 0
    assert changed_since(before) == set()


def test_the_ends_of_lines_decide_no_result(package_copy: Path) -> None:
    """A clone by Git for Windows has other ones; also in files that are no Python."""
    (package_copy / "diffusion" / "table.csv").write_bytes(b"step,rate\n1,0.5\n")
    before = hashes()
    for path in package_copy.rglob("*.*"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert changed_since(before) == set()
    (package_copy / "diffusion" / "table.csv").write_bytes(b"step,rate\r\n1,0.25\r\n")
    assert changed_since(before) == {"restore"}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("diffusion/samplers.py", BEHIND_TRAINING),
        ("diffusion/operators.py", {"restore"}),
        ("diffusion/schedule.py", {"train", *BEHIND_TRAINING}),
        ("models/unet.py", {"train", *BEHIND_TRAINING}),
        ("training/ema.py", {"train"}),
        ("metrics/distances.py", {"evaluate"}),
        ("data/images.py", {"preprocess"}),
        ("data/synthetic/birds.py", {"ingest"}),
        ("recipe/evaluate.py", {"evaluate"}),
        ("recipe/data.py", {"ingest", *COMPUTING}),
        ("stages/register.py", {"register"}),
        ("commands/describe.py", set()),
    ],
)
def test_changed_code_changes_the_hashes_of_the_stages_that_compute_with_it(
    package_copy: Path, module: str, stages: set[str]
) -> None:
    before, whole = hashes(), result_code_hash()
    with (package_copy / module).open("a", encoding="utf-8") as stream:
        stream.write("\nADDED = 1\n")
    assert changed_since(before) == stages
    assert (result_code_hash() != whole) == bool(stages & COMPUTING)


@pytest.mark.parametrize(
    ("library", "stages"),
    [
        ("torch", COMPUTING),
        ("torchmetrics", {"evaluate"}),
        ("pyarrow", {"ingest", "preprocess"}),
        ("mlflow", set()),
    ],
)
def test_a_library_counts_where_it_computes(monkeypatch: pytest.MonkeyPatch, library: str, stages: set[str]) -> None:
    before, version = hashes(), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version(name) + ".1" * (name == library))
    assert changed_since(before) == stages
    code_hash.cache_clear()


def test_a_build_for_other_hardware_is_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = hashes(), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version(name) + "+cpu")
    assert changed_since(before) == set()
    code_hash.cache_clear()
