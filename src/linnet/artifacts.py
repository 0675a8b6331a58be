"""What stages hand to one another: folder roles, file names, hashes, provenance, writes that are whole or absent."""

import ast
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import linnet
from linnet.errors import LinnetError
from linnet.recipe import Section, section_hash

PROVENANCE = "provenance.json"
VERSIONED_LIBRARIES = ("torch", "numpy", "pillow", "safetensors")


class ArtifactError(LinnetError):
    """A stage's input is missing or is not what its name says."""


class Raw:
    """File names in a raw data folder, made by ingest."""

    source = "source.json"  # where the content came from; no part of its hash

    @staticmethod
    def content_hash(folder: Path) -> str:
        """Of the raw data itself, wherever it came from."""
        return folder_hash(folder, leave_out=(Raw.source,))


class Dataset:
    """File names in a dataset folder, made by preprocess."""

    statistics = "statistics.json"
    manifest = "manifest.parquet"
    rejected = "rejected.csv"
    report = "report.html"

    @staticmethod
    def images(split: str) -> str:
        """uint8 [N, height, width, 3]."""
        return f"{split}_images.npy"

    @staticmethod
    def labels(split: str) -> str:
        """int64 [N]."""
        return f"{split}_labels.npy"

    @staticmethod
    def content_hash(folder: Path) -> str:
        """Of what training sees; a page that looks different makes no other data."""
        return folder_hash(folder, leave_out=(PROVENANCE, Dataset.report))


class Model:
    """File names in a model folder, made by train."""

    weights = "model.safetensors"
    ema_weights = "ema.safetensors"
    recipe = "recipe.json"  # the sections that made it
    statistics = "statistics.json"  # of the data it was trained on
    history = "history.csv"
    grids = "grids"

    @staticmethod
    def content_hash(folder: Path) -> str:
        """Of all that decides what the model draws."""
        names = (Model.weights, Model.ema_weights, Model.recipe, Model.statistics)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ArtifactError(f"{folder} lacks {', '.join(missing)}; run `linnet train` first")
        return hashlib.sha256("".join(file_hash(folder / name) for name in names).encode()).hexdigest()


class Samples:
    """File names in a samples folder, made by sample."""

    images = "samples.npy"  # uint8 [N, height, width, 3]
    manifest = "samples.csv"
    grid = "grid.png"
    noising = "noising.png"
    page = "report.html"
    recipe = "recipe.json"  # the section that made them
    files = "images"
    numbers = "numbers.txt"  # in a part of the samples: which pictures it holds


class Report:
    """File names in a report folder, made by evaluate."""

    metrics = "metrics.json"
    scores = "scores.csv"  # the same numbers as a table, for plots
    page = "report.html"


class Registration:
    """File names in a registration folder, made by register."""

    result = "registration.json"


# --- writing ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that appears at `out` whole when the block ends, or not at all; what lay there before is replaced.

    Raises:
        ArtifactError: another process is making the same folder right now.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    if partial.exists():
        with exclusive(partial, what=out):
            _remove(partial)  # what a killed run left
    if old.exists() and not out.exists():
        old.rename(out)  # the run was killed between its two renames
    _remove(old)
    partial.mkdir()
    try:
        with exclusive(partial, what=out):
            yield partial
            for file in sorted(partial.rglob("*")):
                if file.is_file():
                    _sync(file)
            if out.exists():
                out.rename(old)
            try:
                partial.rename(out)
            except OSError:
                if old.exists():
                    old.rename(out)
                raise
            _sync(out.parent)
    except OSError as error:
        error.filename = error.filename or str(out)  # a full disk does not say where it is
        raise
    finally:
        _remove(partial)
    _remove(old)


def copy_folder(source: Path, folder: Path, *, leave_out: Iterable[str] = ()) -> None:
    """Copy all files of `source` into `folder`; the first trouble ends it (shutil.copytree collects them)."""
    skipped = set(leave_out)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and name.as_posix() not in skipped:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / name)


@contextlib.contextmanager
def exclusive(folder: Path, *, what: Path) -> Iterator[None]:
    """No other process works in `folder` at the same time; a lock that ends with the process, however it ends.

    Raises:
        ArtifactError: another process does; the message names `what`.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ArtifactError(f"{what}: another run is making it right now; wait for it, or stop it and repeat") from None
    try:
        yield
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `path` whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    commit_file(partial, path)


def commit_file(partial: Path, path: Path) -> None:
    """Move a finished file to its name so that it survives a power cut."""
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, *, made_by: str) -> Any:
    """Read a JSON file of a stage's output. Raises ArtifactError naming the stage that makes it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{path} is not there; run `linnet {made_by}` first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as reason:
        raise ArtifactError(
            f"{path} is damaged ({reason}); delete its folder and run `linnet {made_by}` again"
        ) from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- hashes -----------------------------------------------------------------------------------------------------------


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
    parts = [code_hash(f"linnet.stages.{stage}") for stage in ("preprocess", "train", "sample", "evaluate")]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


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


# --- provenance -------------------------------------------------------------------------------------------------------


def input_hash(stage: str, sections: Iterable[Section], inputs: Mapping[str, str]) -> str:
    """The name of a stage's result: what went in (recipe sections, hashes of input folders) and the code that ran."""
    value = [stage, code_hash(f"linnet.stages.{stage}"), section_hash(*sections), dict(sorted(inputs.items()))]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def write_provenance(folder: Path, stage: str, sections: Iterable[Section], inputs: Mapping[str, str]) -> None:
    """Write what made this folder and what it holds; a stage does this last.

    No times, machines or commits: equal inputs and equal code give equal bytes.
    """
    sections = list(sections)
    write_json(
        folder / PROVENANCE,
        {
            "stage": stage,
            "input_hash": input_hash(stage, sections, inputs),
            "inputs": dict(sorted(inputs.items())),
            "recipe_hash": section_hash(*sections),
            "code_hash": code_hash(f"linnet.stages.{stage}"),
            "content_hash": folder_hash(folder),
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in VERSIONED_LIBRARIES},
        },
    )


def read_provenance(folder: Path, *, made_by: str) -> dict[str, Any]:
    """The provenance of a folder made by stage `made_by`. Raises ArtifactError if it is not such a folder."""
    provenance = read_json(folder / PROVENANCE, made_by=made_by)
    if not isinstance(provenance, dict):
        raise ArtifactError(f"{folder / PROVENANCE} is damaged; delete its folder and run `linnet {made_by}` again")
    if provenance.get("stage") != made_by:
        raise ArtifactError(f"{folder} was made by `linnet {provenance.get('stage')}`, not by `linnet {made_by}`")
    return provenance


def is_current(folder: Path, wanted: str) -> bool:
    """Whether `folder` is the finished, undamaged result of exactly these inputs, so that there is nothing to do."""
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(provenance, dict) or provenance.get("input_hash") != wanted:
        return False
    return bool(provenance.get("content_hash") == folder_hash(folder))


def check_settings(folder: Path, *, made_by: str, section: Section) -> dict[str, Any]:
    """The provenance of `folder`, if stage `made_by` made it with exactly these settings. Raises ArtifactError."""
    provenance = read_provenance(folder, made_by=made_by)
    if provenance["recipe_hash"] != section_hash(section):
        raise ArtifactError(
            f"{folder} was made with other settings than this recipe has; run `linnet {made_by}` again, or give the "
            "same --set"
        )
    return provenance


@functools.cache
def git_commit() -> str:
    """The commit of code and recipes, `+` after it where they differ from it; LINNET_GIT_COMMIT in an image."""
    if commit := os.environ.get("LINNET_GIT_COMMIT"):
        return commit

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_package_folder()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        top = git("rev-parse", "--show-toplevel")
        changed = git("-C", top, "status", "--porcelain", "--", "src", "recipes", "requirements.lock")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
