"""What stages hand to one another: folder roles, file names, and the provenance that says what made them."""

import functools
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import linnet
from linnet.errors import LinnetError, first_line
from linnet.files import PROVENANCE, ArtifactError, read_json, write_json
from linnet.hashes import Stage, code_hash, file_hash, files_hash, folder_hash, library_versions
from linnet.progress import log
from linnet.recipe import Audio, DataSection, Section, section_hash


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
    converted = "converted.csv"  # what was changed in each recording
    summary = "summary.json"  # what preprocess counted, for people

    @staticmethod
    def images(split: str) -> str:
        """uint8 [N, height, width, 3]."""
        return f"{split}_images.npy"

    @staticmethod
    def waveforms(split: str) -> str:
        """int16 [N, samples]."""
        return f"{split}_waveforms.npy"

    @staticmethod
    def spectrograms(split: str) -> str:
        """float32 [N, channels, frequencies, frames], where the recipe stores them."""
        return f"{split}_spectrograms.npy"

    @staticmethod
    def labels(split: str) -> str:
        """int64 [N]: the class of an image, the recording of a window of audio."""
        return f"{split}_labels.npy"

    @staticmethod
    def examples(data: DataSection, split: str) -> str:
        """What people look at or listen to."""
        return Dataset.waveforms(split) if isinstance(data, Audio) else Dataset.images(split)

    @staticmethod
    def training_examples(data: DataSection) -> str:
        """What training reads."""
        if isinstance(data, Audio) and data.storage == "spectrogram":
            return Dataset.spectrograms("train")
        return Dataset.examples(data, "train")

    @staticmethod
    def content_hash(folder: Path) -> str:
        """Of what the stages after it read: a summary that is worded differently makes no other data."""
        return folder_hash(folder, leave_out=(PROVENANCE, Dataset.summary))

    @staticmethod
    def reference_hash(folder: Path, data: DataSection, split: str) -> str:
        """Of the examples of one split, and nothing else: with which samples are compared."""
        return files_hash(folder, [Dataset.examples(data, split)])


class Model:
    """File names in a model folder, made by train."""

    weights = "model.safetensors"
    ema_weights = "ema.safetensors"
    recipe = "recipe.json"  # the sections that made it
    statistics = "statistics.json"  # of the data it was trained on
    history = "history.csv"
    grids = "grids"

    @staticmethod
    def cost(folder: Path) -> Path:
        """What the training took, beside the folder: times are no part of a result."""
        return folder.with_name(f"{folder.name}-cost.json")

    @staticmethod
    def content_hash(folder: Path) -> str:
        """Of all that decides what the model generates."""
        names = (Model.weights, Model.ema_weights, Model.recipe, Model.statistics)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ArtifactError(f"{folder} lacks {', '.join(missing)}; run `linnet train` first")
        return hashlib.sha256("".join(file_hash(folder / name) for name in names).encode()).hexdigest()


class Samples:
    """File names in a samples folder, made by sample."""

    examples = "samples.npy"  # uint8 [N, height, width, 3] or int16 [N, samples]
    manifest = "samples.csv"
    noising = "noising.npy"  # the same [rows, snapshots, ...]: examples coming out of the noise and going back into it
    recipe = "recipe.json"  # the section that made them
    files = "files"
    indices = "indices.txt"  # in a shard of the samples: which examples it holds


class Restored:
    """File names in a folder of restorations, made by restore; for each degradation a folder of its own name."""

    clean = "clean.npy"  # each float32 [N, C, H, W], pixels in 0..1 or spectrograms
    observed = "observed.npy"
    restored = "restored.npy"
    baseline = "baseline.npy"
    mask = "mask.npy"  # bool [C, H, W]: True where nothing was observed
    examples = "examples.npy"  # some decoded [N, 4, ...], to look at or listen to: clean, observed, baseline, restored


class Report:
    """File names in a report folder, made by evaluate."""

    metrics = "metrics.json"
    scores = "scores.csv"  # the same numbers as a table, for plots
    untrained = "untrained.npy"  # some samples of the network before training, for people
    neighbours = "neighbours.npy"  # [N, 2, ...]: samples, each with its nearest training example, for people


class Registration:
    """File names in a registration folder, made by register."""

    result = "registration.json"


def input_hash(stage: Stage, sections: Iterable[Section], inputs: Mapping[str, str]) -> str:
    """The name of a stage's result: its recipe sections, the hashes of its input folders and the code that computes.

    `inputs` also has the precision where the machine decides it.
    """
    value = [stage.name, code_hash(stage), section_hash(*sections), dict(sorted(inputs.items()))]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def write_provenance(folder: Path, stage: Stage, sections: Iterable[Section], inputs: Mapping[str, str]) -> None:
    """Write what made this folder and what it holds; a stage does this last.

    No times, machines or commits: equal inputs and equal code give equal bytes.
    """
    sections = list(sections)
    write_json(
        folder / PROVENANCE,
        {
            "stage": stage.name,
            "input_hash": input_hash(stage, sections, inputs),
            "inputs": dict(sorted(inputs.items())),
            "recipe_hash": section_hash(*sections),
            "code_hash": code_hash(stage),
            "content_hash": folder_hash(folder),
            "versions": {"python": platform.python_version()} | library_versions(stage),
        },
    )


def read_provenance(folder: Path, *, made_by: str) -> dict[str, Any]:
    """The provenance of a folder made by stage `made_by`. Raises ArtifactError if it is not such a folder."""
    provenance = read_json(folder / PROVENANCE, made_by=made_by)
    if provenance["stage"] != made_by:
        raise ArtifactError(f"{folder} was made by `linnet {provenance['stage']}`, not by `linnet {made_by}`")
    return provenance


def is_current(folder: Path, expected: str) -> bool:
    """Whether `folder` is the finished, undamaged result of this input hash, so that there is nothing to do."""
    try:
        provenance = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(provenance, dict) or provenance.get("input_hash") != expected:
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
    """The last commit that changed code or recipes, `+` after it where they differ; LINNET_GIT_COMMIT in an image.

    In a folder without a history (a downloaded archive, a copy inside another repository) it is "unknown", said once.
    """
    if commit := os.environ.get("LINNET_GIT_COMMIT"):
        return commit
    root = Path(linnet.__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    code = ("--", "src", "recipes", "requirements.lock")
    try:
        if commit := git("rev-list", "-1", "HEAD", *code):
            return commit + ("+" if git("status", "--porcelain", *code) else "")
        reason = f"the repository around {root} does not hold it"
    except subprocess.CalledProcessError as error:
        reason = first_line(LinnetError(error.stderr))
    except (OSError, subprocess.SubprocessError) as error:
        reason = first_line(error)
    log(f"the commit of the code is given as unknown ({reason})")
    return "unknown"
