"""ui: serve the page that generates with trained models, in a process of Streamlit's."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import linnet
from linnet.errors import LinnetError


class NoStreamlitError(LinnetError):
    """The page cannot be served."""


def run(*, build: Path, port: int) -> int:
    """Serve the page until it is stopped; Streamlit's exit status. Raises NoStreamlitError."""
    if importlib.util.find_spec("streamlit") is None:
        raise NoStreamlitError("linnet ui needs streamlit: install linnet with its extra 'ui' (`make setup` does)")
    script = Path(linnet.__file__).parent / "ui" / "app.py"
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    options += ["--server.fileWatcherType=none", "--client.toolbarMode=minimal", "--browser.gatherUsageStats=false"]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *options, "--", "--build", str(build)]
    return subprocess.run(command, check=False).returncode
