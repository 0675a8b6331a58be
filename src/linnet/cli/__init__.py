"""The one way in: parse, call, one error boundary."""

from linnet.cli.entry import app, main

__all__ = ["app", "main"]
