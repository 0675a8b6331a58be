"""ui: serve the page that generates with trained models, with Streamlit."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

import linnet
from linnet.errors import LinnetError


class NoStreamlitError(LinnetError):
    """The page cannot be served."""


def run(*, build: Path, port: int) -> NoReturn:
    """Serve the page until it is stopped. Raises NoStreamlitError.

    This process becomes Streamlit, so that the signal that ends it (Ctrl-C, systemd's and docker's SIGTERM) frees the
    port: no child is left that serves on.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise NoStreamlitError("linnet ui needs streamlit: install linnet with its extra 'ui' (`make setup` does)")
    script = Path(linnet.__file__).parent / "ui" / "app.py"
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    options += ["--server.fileWatcherType=none", "--client.toolbarMode=minimal", "--browser.gatherUsageStats=false"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options, "--", "--build", str(build)]
    os.execv(sys.executable, command)  # noqa: S606  no shell is wanted
