"""What the tasks of a pipeline run leave for its last one: why a task failed, and what the run came to.

Kubeflow Pipelines hands neither to the task that closes a run. So each is a small text beside the checkpoints, below
LINNET_WORK. A note that cannot be written or read is no reason to fail.
"""

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from linnet import storage
from linnet.engine import pipeline_run
from linnet.errors import LinnetError
from linnet.files import write_text
from linnet.patience import no_longer_than
from linnet.tasks.environment import work_location

FAILED, RESULT = "failed.txt", "result.md"
LONGEST_WAIT_SECONDS = 10.0  # for storage that is away: it may be why the task failed
_TROUBLES = (LinnetError, OSError)


@dataclass(frozen=True)
class Notes:
    """What tasks left, by their names."""

    failures: dict[str, str]  # the sentence with which a task failed
    results: dict[str, str]  # Markdown


def note_failure(task: str, message: str) -> None:
    """Keep the sentence with which `task` failed."""
    _write(f"{task}.{FAILED}", message)


def note_result(task: str, text: str) -> None:
    """Keep what `task` came to, as Markdown."""
    _write(f"{task}.{RESULT}", text)


def forget_failure(task: str) -> None:
    """`task` succeeded: what an earlier try of it said no longer holds."""
    if (location := _location()) is not None:
        with contextlib.suppress(*_TROUBLES), no_longer_than(LONGEST_WAIT_SECONDS):
            path = storage.join(location, f"{task}.{FAILED}")
            storage.remove(path) if storage.is_s3_url(path) else Path(path).unlink(missing_ok=True)


def read_notes() -> Notes | None:
    """What the tasks of this pipeline run left; None where it cannot be read."""
    location = _location()
    if location is None:
        return Notes({}, {})
    try:
        with tempfile.TemporaryDirectory() as scratch, no_longer_than(LONGEST_WAIT_SECONDS):
            folder = Path(location)
            if storage.is_s3_url(location):
                folder = Path(scratch) / "notes"
                if storage.idle_seconds(location.rpartition("/")[0], prefix=location.rpartition("/")[2]):
                    storage.download_folder(location, folder)
            return Notes(_texts(folder, FAILED), _texts(folder, RESULT))
    except _TROUBLES:
        return None


def _texts(folder: Path, kind: str) -> dict[str, str]:
    paths = sorted(folder.glob(f"*.{kind}"))
    return {path.name.removesuffix(f".{kind}"): path.read_text(encoding="utf-8").strip() for path in paths}


def forget_all() -> None:
    """Remove the notes of this pipeline run."""
    if (location := _location()) is not None:
        with contextlib.suppress(*_TROUBLES), no_longer_than(LONGEST_WAIT_SECONDS):
            storage.remove(location)


def _location() -> str | None:
    """Where the notes of this pipeline run are; None outside of one."""
    run = pipeline_run()
    return storage.join(work_location(), "runs", run) if run else None


def _write(name: str, text: str) -> None:
    if (location := _location()) is None:
        return
    with contextlib.suppress(*_TROUBLES), no_longer_than(LONGEST_WAIT_SECONDS):
        path = storage.join(location, name)
        if not storage.is_s3_url(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_text(Path(path), text + "\n")
            return
        with tempfile.TemporaryDirectory() as scratch:
            write_text(Path(scratch) / name, text + "\n")
            storage.upload_file(Path(scratch) / name, path)
