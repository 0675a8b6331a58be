"""Hashes of folders and of code, against independent computations."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import linnet
from linnet.hashes import code_files, code_hash, file_hash, folder_hash

PACKAGE = Path(linnet.__file__).parent
STAGES = ("ingest", "preprocess", "train", "sample", "evaluate", "register", "describe")


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
    names = [f"{place % 7}/{place}" for place in range(40)]
    one, other = fill(tmp_path / "one", names), fill(tmp_path / "other", names[::-1])
    os.utime(other / names[0], (1, 1))
    assert folder_hash(one) == folder_hash(other)


def test_a_folder_hash_sees_names_contents_and_places(tmp_path: Path) -> None:
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


def upstream_with_packages(graph: grimp.ImportGraph, module: str) -> set[str]:
    """All of linnet that importing `module` runs: what it imports, and the packages those lie in, and so on."""
    found, waiting = set[str](), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        packages = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
        waiting |= (packages | graph.find_upstream_modules(name)) - found
    return found


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("linnet", cache_dir=None)


@pytest.mark.parametrize("stage", STAGES)
def test_code_files_are_those_that_grimp_finds(graph: grimp.ImportGraph, stage: str) -> None:
    expected = set[str]()
    for module in upstream_with_packages(graph, f"linnet.stages.{stage}"):
        path = PACKAGE.joinpath(*module.split(".")[1:])
        if path.is_dir():
            expected |= {f.relative_to(PACKAGE).as_posix() for f in path.glob("*.*") if f.suffix not in (".py", ".pyc")}
            path = path / "__init__"
        expected.add(path.with_suffix(".py").relative_to(PACKAGE).as_posix())
    assert code_files(f"linnet.stages.{stage}") == sorted(expected)
    assert f"stages/{stage}.py" in expected


def test_code_files_hold_templates_but_not_the_whole_package() -> None:
    files = code_files("linnet.stages.preprocess")
    assert {"__init__.py", "stages/__init__.py", "pages/dataset.html", "data/images.py", "errors.py"} <= set(files)
    assert not {"cli.py", "training/loop.py", "models/unet.py"} & set(files)


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
    return {stage: code_hash(f"linnet.stages.{stage}") for stage in ("ingest", "preprocess", "train")}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("training/loop.py", {"train"}),
        ("pages/dataset.html", {"preprocess", "train"}),
        ("data/download.py", {"ingest"}),
        ("errors.py", {"ingest", "preprocess", "train"}),
        ("cli.py", set()),
    ],
)
def test_a_changed_file_changes_the_hash_of_those_who_use_it(package_copy: Path, file: str, stages: set[str]) -> None:
    before = hashes()
    with (package_copy / file).open("a", encoding="utf-8") as stream:
        stream.write("\n")
    after = hashes()
    assert stages == {stage for stage in before if before[stage] != after[stage]}
