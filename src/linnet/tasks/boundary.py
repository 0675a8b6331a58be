"""What every task has in common: its errors, its arguments, and the check of what it was handed."""

import functools
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from linnet.artifacts import read_provenance
from linnet.engine import in_pod
from linnet.errors import error_boundary, redact_credentials
from linnet.files import ArtifactError
from linnet.progress import log
from linnet.recipe import Recipe
from linnet.recipe.load import parse_recipe
from linnet.tasks.notes import forget_failure, note_failure

if TYPE_CHECKING:
    import torch

Facts = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

TERMINATION_LOG = Path("/dev/termination-log")  # what Kubernetes shows as the reason of a pod's end
LOG_VIEW_COLUMNS = 100  # Kubeflow's page cuts longer lines, and shows in red only those with "error" or "fail" in them
SAMPLE_BATCH = 64
RESTORE_BATCH = 64


def task(function: Callable[P, R]) -> Callable[P, R]:
    """Expected errors become one sentence, in a pod also as its termination message; bugs keep their traceback."""

    def tell(message: str) -> None:
        message = redact_credentials(message)  # logs, notes and pages are read by many
        sentence = f"linnet {function.__name__}: {message}"
        if in_pod():
            for line in textwrap.wrap(sentence, LOG_VIEW_COLUMNS):
                log(f"error: {line}")
            if TERMINATION_LOG.exists():
                TERMINATION_LOG.write_text(sentence, encoding="utf-8")
        else:
            log(sentence)
        note_failure(function.__name__, message)

    @functools.wraps(function)
    def run(*arguments: P.args, **keywords: P.kwargs) -> R:
        with error_boundary(tell):
            result = function(*arguments, **keywords)
        forget_failure(function.__name__)
        return result

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
