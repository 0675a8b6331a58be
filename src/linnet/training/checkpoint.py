"""Checkpoints: written beside, synced, renamed, so that the newest one is always whole."""

import pickle
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from linnet.errors import LinnetError, first_line
from linnet.files import commit_file


class CheckpointError(LinnetError):
    """A checkpoint is damaged."""


class Mirror(Protocol):
    """A second place for the checkpoint, for machines whose disks do not outlive them."""

    def push(self, path: Path) -> None: ...

    def pull(self, path: Path) -> None: ...

    def discard(self) -> None: ...


class CheckpointStore:
    """The newest state of one run, in a folder that is no output of the stage."""

    def __init__(self, folder: Path, *, every_seconds: float, mirror: Mirror | None = None) -> None:
        self.path = folder / "checkpoint.pt"
        self._mirror = mirror
        self._every_seconds = every_seconds
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save; when to save never changes what is computed."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the newest checkpoint by `state`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch's zip writer stumbles over its own end on a full disk
            if isinstance(error.__context__, OSError):
                error.__context__.filename = str(partial)
                raise error.__context__ from None
            raise
        commit_file(partial, self.path)
        if self._mirror:
            self._mirror.push(self.path)
        self._saved_at = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state, None where there is none. Raises CheckpointError if it is damaged."""
        if self._mirror and not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._mirror.pull(self.path)
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as reason:
            raise CheckpointError(
                f"{self.path}: cannot be used ({first_line(reason)}); delete it to train from the beginning"
            ) from None
        return state

    def discard(self) -> None:
        """Remove the checkpoint: the run is finished."""
        self.path.unlink(missing_ok=True)
        if self._mirror:
            self._mirror.discard()
