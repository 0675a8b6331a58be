"""What a process may take: the least of what the machine, the groups above it and its own limits leave."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from linnet import memory

MIB = 2**20


def write_group(folder: Path, names: tuple[str, str], limit: str, usage: int, stat: str) -> None:
    folder.mkdir(parents=True)
    for name, text in zip((*names, "memory.stat"), (limit, str(usage), stat), strict=True):
        (folder / name).write_text(text + "\n")


def test_the_groups_of_version_2_leave_limit_minus_usage_plus_page_cache(tmp_path: Path) -> None:
    names = ("memory.max", "memory.current")
    write_group(tmp_path / "kubepods", names, str(1000 * MIB), 300 * MIB, f"anon 1\ninactive_file {50 * MIB}")
    write_group(tmp_path / "kubepods" / "pod", names, "max", 300 * MIB, "inactive_file 0")
    assert list(memory._cgroup_rooms("0::/kubepods/pod", tmp_path)) == [750 * MIB]


def test_the_groups_of_version_1_are_found_in_a_container_too(tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    write_group(tmp_path / "memory", names, str(64 * MIB), 60 * MIB, f"total_inactive_file {MIB}")
    lines = "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab"
    assert list(memory._cgroup_rooms(lines, tmp_path)) == [5 * MIB]


def test_a_machine_without_limits_has_what_is_free() -> None:
    assert 0 < memory.available_bytes() <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_what_is_too_large_fails_where_it_is_asked_for() -> None:
    """Without the limit, Linux promises it and kills whoever uses it."""
    code = (
        "import mmap, psutil, linnet.memory as memory\n"
        "memory.LIBRARIES_BYTES = 1 << 28\n"
        "memory.limit_to_available(1 << 40)\n"
        "print((memory.available_bytes() >> 20) <= 256)\n"
        "bytes(100 << 20)\n"
        "bytes(300 << 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"]
    assert done.stderr.splitlines()[-1] == "MemoryError"


@pytest.mark.parametrize(("num_bytes", "words"), [(3 * 2**29, "1.5 GiB"), (600 * MIB, "600 MiB")])
def test_sizes_in_words(num_bytes: int, words: str) -> None:
    assert memory.in_words(num_bytes) == words
