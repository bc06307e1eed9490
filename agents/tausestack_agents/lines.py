"""A line of the journal, as it is known in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tausestack.database import Row


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the journal: one model or tool call."""

    task: str
    call: str
    position: int
    kind: str
    status: str
    server: str = ""
    tool: str = ""
    arguments: dict[str, Any] | None = None
    key: str = ""
    approval: str | None = None
    result: Any = None
    error: dict[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """Return its columns."""
        return {name: getattr(self, name) for name in NAMES}


NAMES = tuple(Line.__dataclass_fields__)
Lines = dict[tuple[str, str], Line]
"""Lines by task and call."""


def of_row(row: Row) -> Line:
    """Return a row of the journal's table as a line."""
    return Line(**{name: getattr(row, name) for name in NAMES})
