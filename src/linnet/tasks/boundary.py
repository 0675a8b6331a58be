"""What every task has in common: its errors, its arguments, and the check of what it was handed."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from linnet.artifacts import read_provenance
from linnet.errors import error_boundary
from linnet.files import ArtifactError, write_text
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.recipe.load import parse_recipe
from linnet.tasks.environment import in_cluster

if TYPE_CHECKING:
    import torch

Facts = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

TERMINATION_LOG = Path("/dev/termination-log")  # what Kubernetes shows as the reason of a pod's end
SAMPLE_BATCH = 64
RESTORE_BATCH = 64


class Artifact(Protocol):
    """What an engine hands over: something that lies at a path."""

    path: str


def task(function: Callable[P, R]) -> Callable[P, R]:
    """Expected errors become one sentence, in a pod also as its termination message; bugs keep their traceback."""

    def tell(message: str) -> None:
        log(f"linnet {function.__name__}: {message}")
        if in_cluster() and TERMINATION_LOG.exists():
            TERMINATION_LOG.write_text(f"linnet {function.__name__}: {message}", encoding="utf-8")

    @functools.wraps(function)
    def run(*arguments: P.args, **keywords: P.kwargs) -> R:
        with error_boundary(tell):
            return function(*arguments, **keywords)

    return run


def parse(text: str) -> Recipe:
    """The recipe, which travels as a text. Raises RecipeError."""
    return parse_recipe(text, where="the recipe")


def device() -> "torch.device":
    """The device that LINNET_DEVICE names; the GPU where there is one, if it names none."""
    from linnet.models.device import pick_device

    return pick_device(os.environ.get("LINNET_DEVICE") or "auto")


def verify(path: str, found: str, expected: str) -> None:
    """Raises ArtifactError if an artifact is not what the task before it made."""
    if found != expected:
        raise ArtifactError(
            f"{path} is not what the task before it made (hash {found[:12]}, wanted {expected[:12]}): the copy is "
            "damaged or cached from elsewhere; run that task again without its cache"
        )


def made_by(folder: str, stage: str) -> dict[str, str]:
    """The hashes that say how a folder was made."""
    provenance = read_provenance(Path(folder), made_by=stage)
    return {name: provenance[name] for name in ("input_hash", "recipe_hash", "code_hash")}


def write_reason(page: str, title: str, reason: str) -> None:
    """A page of Markdown with one sentence."""
    write_text(Path(page), f"# {title}\n\n{reason}\n")
