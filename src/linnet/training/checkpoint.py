"""Checkpoints: written beside, synced, renamed, so that the newest one is always whole."""

import pickle
import time
from pathlib import Path
from typing import Any

import torch

from linnet import storage
from linnet.errors import LinnetError, first_line
from linnet.files import commit_file
from linnet.progress import log


class CheckpointError(LinnetError):
    """A checkpoint is damaged."""


class CheckpointStore:
    """The newest state of one run, in a folder that is no output of the stage.

    `remote` is an s3:// address for a second copy, where the folder does not outlive this machine.
    """

    def __init__(self, folder: Path, *, every_seconds: float, remote: str | None = None) -> None:
        self.path = folder / "checkpoint.pt"
        self._remote = remote
        self._every_seconds = every_seconds
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save; when to save never changes what is computed."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the newest checkpoint by `state`. Storage that does not answer must not end a training."""
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
        if self._remote:
            try:
                storage.upload_file(self.path, self._remote)
            except storage.StorageError as reason:
                log(f"{reason} Training goes on; the newest checkpoint is only on this machine.")
        self._saved_at = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest state, None where there is none. Raises CheckpointError if it is damaged."""
        if self._remote and not self.path.exists() and storage.exists(self._remote):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            storage.download_file(self._remote, self.path)
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
        if self._remote:
            storage.remove(self._remote)
