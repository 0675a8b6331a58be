"""What the tasks of a pipeline run leave for its last one: why a task failed, and what the run came to.

Kubeflow Pipelines hands neither to the task that closes a run. So each is a small text beside the checkpoints, below
LINNET_WORK. A note that cannot be written or read is no reason to fail.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from linnet import storage
from linnet.errors import LinnetError
from linnet.files import write_text
from linnet.launch.leases import PIPELINE_RUN_VARIABLE
from linnet.storage import StorageError
from linnet.tasks.environment import work_location

FAILED, RESULT = "failed.txt", "result.md"
_TROUBLES = (LinnetError, OSError)


def note_failure(task: str, message: str) -> None:
    """Keep the sentence with which `task` failed."""
    _write(f"{task}.{FAILED}", message)


def note_result(task: str, text: str) -> None:
    """Keep what `task` came to, as Markdown."""
    _write(f"{task}.{RESULT}", text)


def forget_failure(task: str) -> None:
    """`task` succeeded: what an earlier try of it said no longer holds."""
    if (location := _location()) is not None:
        with contextlib.suppress(*_TROUBLES):
            path = storage.join(location, f"{task}.{FAILED}")
            storage.remove(path) if storage.is_s3_url(path) else Path(path).unlink(missing_ok=True)


def read_notes() -> tuple[dict[str, str], dict[str, str]]:
    """(why tasks failed, what tasks came to), by the names of the tasks."""
    location = _location()
    if location is None:
        return {}, {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(*_TROUBLES):
        folder = Path(location)
        if storage.is_s3_url(location):
            folder = Path(scratch) / "notes"
            with contextlib.suppress(StorageError):  # none was written
                storage.download_folder(location, folder)
        found = [
            {
                path.name.removesuffix(f".{kind}"): path.read_text(encoding="utf-8").strip()
                for path in sorted(folder.glob(f"*.{kind}"))
            }
            for kind in (FAILED, RESULT)
        ]
        return found[0], found[1]
    return {}, {}


def forget_all() -> None:
    """Remove the notes of this pipeline run."""
    if (location := _location()) is not None:
        with contextlib.suppress(*_TROUBLES):
            storage.remove(location)


def _location() -> str | None:
    """Where the notes of this pipeline run are; None outside of one."""
    run = os.environ.get(PIPELINE_RUN_VARIABLE)
    return storage.join(work_location(), "runs", run) if run else None


def _write(name: str, text: str) -> None:
    if (location := _location()) is None:
        return
    with contextlib.suppress(*_TROUBLES):
        path = storage.join(location, name)
        if not storage.is_s3_url(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_text(Path(path), text + "\n")
            return
        with tempfile.TemporaryDirectory() as scratch:
            write_text(Path(scratch) / name, text + "\n")
            storage.upload_file(Path(scratch) / name, path)
