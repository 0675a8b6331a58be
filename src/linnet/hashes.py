"""Hashes of what decides a result: the content of files and folders, and the code that computes a stage."""

import ast
import functools
import hashlib
import importlib.metadata
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import linnet
from linnet.files import PROVENANCE
from linnet.walk import walk

NOT_SOURCE = {"__pycache__", "__init__.py"}  # a package's own file is only its face
LABELLED_CALLS = {"log", "ProgressBar"}  # what they are given is read by people only


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline, and what decides its result. Packages and modules are named relative to linnet."""

    name: str
    sections: tuple[str, ...]  # of the recipe, whose values go in
    inputs: tuple[str, ...]  # the folders of the stages before it
    output: str  # its folder
    computes: tuple[str, ...]  # the packages and modules that its result depends on, beside its own file
    ignores: tuple[str, ...]  # what it imports of these, or besides them, without an influence on the result
    libraries: tuple[str, ...]  # those whose version decides the result


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def folder_hash(folder: Path, *, leave_out: Iterable[str] = (PROVENANCE,)) -> str:
    """sha256 over relative names and contents of all files that `walk` sees, in an order of their own.

    Links count as what they lead to, so that data hashes the same wherever it lies; times do not count.
    """
    return files_hash(folder, walk(folder).files.keys() - set(leave_out))


def files_hash(folder: Path, names: Iterable[str]) -> str:
    """sha256 over the names, which are bytes, and the contents of these files of `folder`."""
    digest = hashlib.sha256()
    for name in sorted((Path(name).as_posix() for name in names), key=os.fsencode):
        digest.update(os.fsencode(name) + f"\0{file_hash(folder / name)}\n".encode())
    return digest.hexdigest()


@functools.cache
def code_hash(stage: Stage) -> str:
    """sha256 of all code that decides the result of `stage`: linnet's modules, and the versions of its libraries.

    A module is hashed by what it computes. Its comments, layout and docstrings don't count, nor does what only people
    read: the texts of errors, of log lines and of progress bars. How lines end counts nowhere.
    """
    digest = hashlib.sha256()
    for name in code_files(stage):
        digest.update(f"{name}\0{source_hash(_package_folder() / name)}\n".encode())
    for library, version in library_versions(stage).items():
        digest.update(f"{library}=={version}\n".encode())
    return digest.hexdigest()


def source_hash(path: Path) -> str:
    """sha256 of a source file, of a module by what it computes."""
    content = path.read_bytes()
    text = _canonical(ast.parse(content)).encode() if path.suffix == ".py" else _with_unix_lines(content)
    return hashlib.sha256(text).hexdigest()


def library_versions(stage: Stage) -> dict[str, str]:
    """The versions of the libraries that compute; builds for different hardware (`2.11.0+cpu`) are one version."""
    return {name: importlib.metadata.version(name).partition("+")[0] for name in stage.libraries}


def combined(hashes: Iterable[str]) -> str:
    """One hash of several, in their order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def code_files(stage: Stage) -> list[str]:
    """The files, relative to the package, that decide the result of `stage`, sorted."""
    sections = ("section", *stage.sections)
    modules = (f"stages.{stage.name}", *stage.computes, *(f"recipe.{section}" for section in sections))
    files = {file for module in modules for file in module_files(module)}
    return sorted(files - {file for module in stage.ignores for file in module_files(module)})


def module_files(module: str) -> list[str]:
    """The files, relative to the package, of a module or of all modules of a package."""
    base = _package_folder().joinpath(*module.split("."))
    found = [base.with_suffix(".py")] if base.with_suffix(".py").is_file() else [*base.rglob("*")]
    files = [path.relative_to(_package_folder()) for path in found if path.is_file()]
    assert files, f"linnet has no module {module}"
    return [path.as_posix() for path in files if not NOT_SOURCE & set(path.parts)]


def _package_folder() -> Path:
    return Path(linnet.__file__).parent


def _with_unix_lines(text: bytes) -> bytes:
    """A clone by Git for Windows may have other ends of lines; the code is the same."""
    return text.replace(b"\r\n", b"\n")


def _canonical(node: object) -> str:
    """A text that two syntax trees share if they compute the same; the same in every version of Python."""
    match node:
        case ast.Raise(exc=ast.Call(func=kind)):
            return f"Raise({_canonical(kind)})"
        case ast.Call(func=ast.Name(id=name)) if name in LABELLED_CALLS:
            return f"Call({name})"
        case ast.Assert(test=test):
            return f"Assert({_canonical(test)})"
        case ast.AST():
            return f"{type(node).__name__}({','.join(_fields(node))})"
        case list():
            return f"[{','.join(_canonical(item) for item in node if not _is_docstring(item))}]"
        case _:
            return repr(node)


def _fields(node: ast.AST) -> Iterator[str]:
    for name, value in ast.iter_fields(node):
        if value is not None and value != []:
            yield f"{name}={_canonical(value)}"


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
