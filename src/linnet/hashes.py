"""Hashes of content: of files, of folders, and of the code that a stage runs."""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import linnet
from linnet.files import PROVENANCE


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def folder_hash(folder: Path, *, leave_out: Iterable[str] = (PROVENANCE,)) -> str:
    """sha256 over relative names and contents of all files, independent of the file system's order and of times."""
    digest = hashlib.sha256()
    skipped = set(leave_out)
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in skipped:
            digest.update(f"{name}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()


@functools.cache
def code_hash(module: str) -> str:
    """sha256 of the sources of `module` and of all of linnet that it imports, however deep."""
    digest = hashlib.sha256()
    for name in code_files(module):
        digest.update(f"{name}\0".encode())
        digest.update((_package_folder() / name).read_bytes())
    return digest.hexdigest()


def result_code_hash() -> str:
    """Of the code of all stages that decide what a model is and how it scores."""
    return combined(
        code_hash(f"linnet.stages.{stage}") for stage in ("preprocess", "train", "sample", "restore", "evaluate")
    )


def combined(hashes: Iterable[str]) -> str:
    """One hash of several, in their order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def code_files(module: str) -> list[str]:
    """Source files, relative to the package, of `module` and of all of linnet that it imports.

    Other files in a package's folder, such as page templates, belong to the package.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _source_of(name)
        if name in found or path is None:
            continue
        found[name] = path
        waiting.append(name.rpartition(".")[0])  # importing a module runs its package first
        waiting.extend(_imports_of(path))
    paths = set(found.values())
    for package in [path.parent for path in paths if path.name == "__init__.py"]:
        paths.update(path for path in package.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc"))
    return sorted(path.relative_to(_package_folder()).as_posix() for path in paths)


def _package_folder() -> Path:
    return Path(linnet.__file__).parent


def _source_of(module: str) -> Path | None:
    if module.partition(".")[0] != "linnet":
        return None
    base = _package_folder().joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
