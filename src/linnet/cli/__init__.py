"""The one way in: parse, call, one error boundary."""

from linnet.cli.entry import INTERRUPTED, app, main, run_command

__all__ = ["INTERRUPTED", "app", "main", "run_command"]
