"""Ctrl-C before a command has begun: one line, and the status that shells expect."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from linnet.interruption import INTERRUPTED, MESSAGE

LINE = f"linnet: {MESSAGE}\n"
BEGIN = "import signal, time; from linnet import interruption as i; i.end_at_once_if_interrupted(); "
WAIT = "print(flush=True); time.sleep(60)"


def interrupted(*command: str, seen: str) -> tuple[int, str]:
    """Exit status and messages of a Python process that gets SIGINT once it has printed `seen`."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if seen in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    return process.returncode, rest


def test_while_libraries_are_imported_it_ends_the_process_with_one_line() -> None:
    assert interrupted("-c", BEGIN + WAIT, seen="\n") == (INTERRUPTED, LINE)


@pytest.mark.parametrize("seen", [" typer.", " pydantic."])
def test_the_command_itself_does(seen: str) -> None:
    status, printed = interrupted("-X", "importtime", "-m", "linnet", "check", "recipes/birds.toml", seen=seen)
    rest = [line for line in printed.splitlines(keepends=True) if not line.startswith("import time:")]
    assert (status, rest) == (INTERRUPTED, [LINE])


def test_the_commands_of_the_pipelines_do() -> None:
    status, printed = interrupted("-X", "importtime", "-m", "pipelines.sweep", "--help", seen=" numpy")
    rest = [line for line in printed.splitlines(keepends=True) if not line.startswith("import time:")]
    assert (status, rest) == (INTERRUPTED, [LINE])


def test_afterwards_it_is_an_exception_that_closes_what_is_open() -> None:
    handled = f"i.raise_if_interrupted()\ntry: {WAIT}\nexcept KeyboardInterrupt: print('closed')"
    assert interrupted("-c", BEGIN + handled, seen="\n") == (0, "closed\n")


def test_where_it_is_ignored_it_stays_so() -> None:
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    left = "print(flush=True); time.sleep(0.5); print('went on')"
    assert interrupted("-c", ignored + BEGIN + left, seen="\n") == (0, "went on\n")


def test_the_first_process_of_a_container_ends_at_sigterm_too() -> None:
    """It would ignore the signal, as PID 1 does everything that it does not handle."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("may make no PID namespace here")
    command = [unshare, "--pid", "--fork", sys.executable, "-c", BEGIN + WAIT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as outside:
        assert outside.stdout is not None
        outside.stdout.readline()
        first = int(Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text())
        os.kill(first, signal.SIGTERM)
        assert outside.stdout.read() == LINE
    assert outside.returncode == INTERRUPTED
