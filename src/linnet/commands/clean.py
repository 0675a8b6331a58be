"""clean: the unfinished work that waits for its command to be repeated, listed, and removed where nobody needs it."""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linnet.files import ArtifactError, folder_lock
from linnet.memory import in_words

DAY_SECONDS = 24 * 3600
OF_A_SWEEP = "sweeps/*/workspace/.work"  # where its runs have theirs
CHECKPOINT, DOWNLOAD = "checkpoint", "download"
KEY = re.compile(r"(train-)?[0-9a-f]{16}|caltech")  # what train and ingest name their folders


@dataclass(frozen=True)
class Unfinished:
    """A folder of a stopped training or download."""

    folder: Path
    kind: str  # CHECKPOINT or DOWNLOAD
    num_bytes: int
    changed_at: float  # seconds since the epoch, of its newest file
    is_used: bool  # a run holds its lock right now

    def age_days(self, now: float) -> float:
        """Since anything in it changed."""
        return max(0.0, now - self.changed_at) / DAY_SECONDS


def unfinished_work(work: Path) -> list[Unfinished]:
    """All that a repeated command would go on with, the largest first; nothing else that lies below `work`."""
    found = []
    for folder in _folders(work):
        files = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
        found.append(
            Unfinished(
                folder,
                DOWNLOAD if folder.parent.name == "downloads" else CHECKPOINT,
                sum(file.st_size for file in files),
                max([file.st_mtime for file in files], default=folder.stat().st_mtime),
                _is_used(folder),
            )
        )
    return sorted(found, key=lambda one: (-one.num_bytes, one.folder))


def run(work: Path, *, remove: bool, older_than_days: float) -> Iterator[str]:
    """Lines about what waits below `work`, untouched for `older_than_days`; with `remove` it is deleted.

    What a run uses at this moment stays.
    """
    now = time.time()
    old = [one for one in unfinished_work(work) if one.age_days(now) >= older_than_days]
    freed = 0
    for one in old:
        is_removed = remove and not one.is_used and _remove(one.folder)
        freed += one.num_bytes if is_removed else 0
        state = "removed" if is_removed else "in use, stays" if one.is_used or remove else ""
        line = f"{in_words(one.num_bytes):>9}  {one.age_days(now):6.1f} days  {one.kind:<10}  {one.folder}  {state}"
        yield line.rstrip()
    if not old:
        yield f"{work}: nothing unfinished waits there" + (f" for {older_than_days:g} days" if older_than_days else "")
    elif remove:
        yield f"{in_words(freed)} freed"
    else:
        waiting = in_words(sum(one.num_bytes for one in old if not one.is_used))
        yield f"{waiting} can be freed: repeat with --remove; a training or download then begins anew"


def _folders(work: Path) -> list[Path]:
    tops = [work, *work.glob(OF_A_SWEEP)]
    found = [path for top in tops for path in (*top.glob("*/train-*"), *top.glob("downloads/*"))]
    return [path for path in found if path.is_dir() and not path.is_symlink() and KEY.fullmatch(path.name)]


def _is_used(folder: Path) -> bool:
    try:
        with folder_lock(folder, what=folder):
            return False
    except ArtifactError:
        return True


def _remove(folder: Path) -> bool:
    """Whether it is gone: a run that has begun meanwhile keeps it."""
    try:
        with folder_lock(folder, what=folder):
            shutil.rmtree(folder)
    except ArtifactError:
        return False
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return True
