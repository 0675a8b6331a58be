"""What kfp.local prints, without what only its authors want to read."""

from typing import TextIO

EXECUTOR = "[KFP Executor "  # bookkeeping of every task, among it its whole input as JSON


class WithoutBookkeeping:
    """A stream that leaves out the lines of kfp's executor, and empty ones."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line, self._in_json = stream, "", False

    def write(self, text: str) -> int:
        """Lines are judged whole, so they appear when they end."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if self._is_for_people(line):
                self._stream.write(line + "\n")
        self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing waits here but an unfinished line."""
        self._stream.flush()

    def _is_for_people(self, line: str) -> bool:
        if self._in_json:
            self._in_json = line.strip(" ") != "}" or line.startswith("     ")
            return False
        if EXECUTOR in line:
            self._in_json = line.endswith("Got executor_input:")
            return False
        return bool(line.strip())

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
