"""How much memory a process may still take: of the machine, of its container, and of what a shell or batch system set.

Linux promises more memory than there is and kills when it runs out, so that nobody hears why. A process that computes
therefore limits itself to what is free when it begins: what is too large fails where it is asked for, and can be told.
"""

import ctypes
import functools
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

STATUS, CGROUPS = Path("/proc/self/status"), Path("/proc/self/cgroup")
CGROUP_ROOT = Path("/sys/fs/cgroup")
LIBRARIES_BYTES = 2 << 30  # of address space, which torch and its threads reserve and hardly use: seen 0.8 GB
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
HIGHEST_MMAP_THRESHOLD = 32 << 20  # that glibc takes
TOP_PAD_BYTES = 64 << 20
_CGROUP_FILES = (  # of version 2, and of version 1: folder, limit, usage, page cache that is given up on demand
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_bytes() -> int:
    """What this process can take now without swapping, on any machine and in any container."""
    return max(0, min([int(psutil.virtual_memory().available), *_cgroup_rooms(), *_limit_rooms()]))


@functools.cache
def limit_to_available(share: int = 1) -> None:
    """Let this process have no more than one of `share` equal parts of what is free now, with free swap; once.

    What it has already is not counted. Where the system has no such limit, nothing happens.
    """
    taken = _status_bytes("VmData")
    if taken is None:
        return
    free = available_bytes() + int(psutil.swap_memory().free)
    limit = taken + max(free // share, LIBRARIES_BYTES)
    _, highest = resource.getrlimit(resource.RLIMIT_DATA)
    if highest != resource.RLIM_INFINITY:
        limit = min(limit, highest)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, highest))


def keep_freed_memory() -> None:
    """Let glibc keep what arrays free, for the next step or the next image; other C libraries stay as they are.

    It would give arrays of more than 128 KiB back to the system at once and get them again page by page, each filled
    with zeros (benchmarks/bench_processes.py).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, HIGHEST_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, TOP_PAD_BYTES)


def in_words(num_bytes: int) -> str:
    """GiB, or MiB where that is less than one."""
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"


def _limit_rooms() -> Iterator[int]:
    """What `ulimit -v` and `ulimit -d` leave."""
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(limit)
        taken = _status_bytes(name)
        if soft != resource.RLIM_INFINITY and taken is not None:
            yield soft - taken


def _cgroup_rooms(lines: str | None = None, root: Path = CGROUP_ROOT) -> Iterator[int]:
    """What each control group above this process leaves: Kubernetes, Docker and Slurm set their limits there."""
    if lines is None:
        lines = CGROUPS.read_text() if CGROUPS.exists() else ""
    for line in lines.splitlines():
        _, controllers, group = line.split(":", 2)
        for controller, limit_file, usage_file, reclaimable in _CGROUP_FILES:
            if controller in controllers.split(","):
                yield from _rooms_up(root / controller, group, limit_file, usage_file, reclaimable)


def _rooms_up(base: Path, group: str, limit_file: str, usage_file: str, reclaimable: str) -> Iterator[int]:
    folder = base / group.strip("/")
    for place in (folder, *folder.parents):
        try:
            limit, usage = (place / limit_file).read_text().strip(), int((place / usage_file).read_text())
            if limit != "max":
                found = re.search(rf"^{reclaimable} (\d+)$", (place / "memory.stat").read_text(), re.MULTILINE)
                yield int(limit) - usage + (int(found[1]) if found else 0)
        except OSError:
            pass  # in a container the folders above its own are not there
        if place == base:
            return


def _status_bytes(name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        return None
    return int(found[1]) * 1024 if found else None
