"""Checkpoints: written in the background, each with its checksum, the one before kept until the next is whole.

A checkpoint file is the SHA-256 of all that follows, the step as 8 bytes, and what torch.save wrote. Two files are
written in turn, so that a damaged one (a flipped byte, half an upload) costs the steps since the one before.
"""

import hashlib
import io
import pickle
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linnet import storage
from linnet.errors import LinnetError, first_line
from linnet.files import new_file
from linnet.progress import log

NAMES = ("checkpoint-a.pt", "checkpoint-b.pt")
DIGEST_BYTES, STEP_BYTES = 32, 8


class CheckpointError(LinnetError):
    """No checkpoint of a run can be used."""


class CheckpointStore:
    """The two newest states of one run, in a folder that is no output of the stage.

    `remote` is an s3:// address of a folder for second copies, where the first does not outlive this machine.
    """

    def __init__(self, folder: Path, *, every_seconds: float, remote: str | None = None) -> None:
        self.folder = folder
        self._remote = remote
        self._every_seconds = every_seconds
        self._saved_at = time.monotonic()
        self._next = 0  # of NAMES, the one to write
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def is_due(self) -> bool:
        """Whether enough time has passed since the last save; when to save never changes what is computed."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def exists(self) -> bool:
        """Whether this machine has a checkpoint."""
        return any((self.folder / name).exists() for name in NAMES)

    def save(self, state: dict[str, Any]) -> None:
        """Copy `state` (with its "step") and write it in the background; waits for the save before.

        Storage that does not answer must not end a training. Raises OSError where a disk is full.
        """
        self.wait()
        copied = _on_host(state)
        name, self._next = NAMES[self._next], 1 - self._next
        self._writing = self._writer.submit(self._write, name, copied)
        self._saved_at = time.monotonic()

    def wait(self) -> None:
        """Return when the last save is on the disk. Raises what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The newest whole state, None where there is none. Raises CheckpointError if every one is damaged."""
        if self._remote and not self.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in NAMES:
                if storage.exists(address := storage.join(self._remote, name)):
                    storage.download_file(address, self.folder / name)
        paths = [path for name in NAMES if (path := self.folder / name).exists()]
        reasons = []
        for path in sorted(paths, key=_step, reverse=True):
            try:
                state = _read(path, device)
            except CheckpointError as reason:
                log(f"{reason}; the checkpoint before it is used where there is one")
                reasons.append(reason)
            else:
                self._next = 1 - NAMES.index(path.name)
                return state
        if reasons:
            raise CheckpointError(f"{reasons[0]}; delete {self.folder} to train from the beginning")
        return None

    def discard(self) -> None:
        """Remove the checkpoints: the run is finished."""
        self.wait()
        for name in NAMES:
            (self.folder / name).unlink(missing_ok=True)
            if self._remote:
                storage.remove(storage.join(self._remote, name))

    def _write(self, name: str, state: dict[str, Any]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        step, saved = int(state["step"]).to_bytes(STEP_BYTES), buffer.getbuffer()
        with new_file(path) as partial, partial.open("wb") as file:
            file.writelines([_digest(step, saved), step, saved])
        if self._remote:
            try:
                storage.upload_file(path, storage.join(self._remote, name))
            except storage.StorageError as reason:
                log(f"{reason} Training goes on; the newest checkpoint is only on this machine.")


def _step(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(DIGEST_BYTES + STEP_BYTES)[DIGEST_BYTES:])


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    with path.open("rb") as file:
        digest, step, saved = file.read(DIGEST_BYTES), file.read(STEP_BYTES), file.read()
    if _digest(step, saved) != digest:
        raise CheckpointError(f"{path}: cannot be used (its checksum is another)")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as reason:
        raise CheckpointError(f"{path}: cannot be used ({first_line(reason)})") from None
    return state


def _digest(step: bytes, saved: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(step)
    digest.update(saved)
    return digest.digest()


def _on_host(state: dict[str, Any]) -> dict[str, Any]:
    """`state` with copies of its tensors in host memory; all copies of a GPU are under way at once."""
    copied = _map_tensors(state, _copy)
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    return copied  # type: ignore[no-any-return]


def _copy(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor.clone()
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def _map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    match value:
        case Tensor():
            return function(value)
        case dict():
            return {key: _map_tensors(each, function) for key, each in value.items()}
        case list():
            return [_map_tensors(each, function) for each in value]
        case _:
            return value
