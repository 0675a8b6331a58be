"""linnet as people start it: a process of its own in a workspace folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "linnet")


def linnet(workspace: Path, *arguments: str, status: int = 0) -> str:
    """Run a command to its end, check the exit status, and return what it printed (both streams)."""
    done = subprocess.run(
        [COMMAND, *arguments], cwd=workspace, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def linnet_killed(workspace: Path, *arguments: str, when: Callable[[float], bool]) -> bool:
    """Run a command and SIGKILL its process group once `when(seconds since start)`; whether it still ran then."""
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=workspace,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        started = time.monotonic()
        while process.poll() is None and not when(time.monotonic() - started):
            time.sleep(0.002)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return alive
