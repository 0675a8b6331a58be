"""The one way in: parse, call, one error boundary."""

from linnet.cli.entry import app, main, run_command
from linnet.interruption import INTERRUPTED

__all__ = ["INTERRUPTED", "app", "main", "run_command"]
