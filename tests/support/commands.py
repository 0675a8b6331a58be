"""linnet as people start it, in a workspace folder and a process of its own.

What runs to its end is forked from a process that has imported the large libraries: most of a short command is their
import. What is killed, and what DVC and Kubeflow start, are processes from the beginning.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "linnet")
LIBRARIES = ["torch", "torch._dynamo", "mlflow", "torchmetrics.image.fid"]


def linnet(workspace: Path, *arguments: str, status: int = 0) -> str:
    """Run a command to its end, check the exit status, and return what it printed (both streams)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as printed:
        process = context.Process(target=_run, args=(str(workspace), arguments, dict(os.environ), printed.name))
        process.start()
        process.join()
        text = printed.read()
    assert process.exitcode == status, text
    return text


def _run(workspace: str, arguments: tuple[str, ...], environment: dict[str, str], printed: str) -> None:
    os.chdir(workspace)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(printed, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    sys.argv = ["linnet", *arguments]
    from linnet.cli import main

    main()


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
