"""A line of the table: a component, what was found there, what that means, and what to do about it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from linnet.errors import LinnetError

Verdict = Literal["ok", "advice", "missing", "not known"]  # advice: runs work, and lose something


@dataclass(frozen=True)
class Row:
    """One line."""

    component: str
    found: str
    verdict: Verdict = "ok"
    remedy: str = ""


class NotKnownError(LinnetError):
    """Something cannot be found out from here; says why, and what to do to find out."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def row_or_not_known(component: str, ask: Callable[[], Row | Iterable[Row]]) -> list[Row]:
    """The rows that `ask` gives; and one that says why, where it cannot go on."""
    found: list[Row] = []
    try:
        rows = ask()
        found.extend([rows] if isinstance(rows, Row) else rows)  # row by row: those before a failure stay
    except NotKnownError as reason:
        found.append(Row(component, f"not known: {reason}", "not known", reason.remedy))
    return found
