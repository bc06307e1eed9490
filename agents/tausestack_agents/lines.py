"""A line of the journal, as it is known in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

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


_SHORT = 32 * 1024
_SIZED = frozenset({str, dict, list})


def are_short(lines: Iterable[Line]) -> bool:
    """Return whether lines come to some ten thousand characters of JSON at most, without writing any."""
    left = _SHORT
    waiting: list[Any] = [each for line in lines for each in (line.arguments, line.result, line.error)]
    while waiting and left > 0:
        value = waiting.pop()
        kind = cast("type[Any]", type(value))
        if kind in _SIZED:
            left -= len(value)
        if kind is dict and left > 0:
            waiting += value  # its names
            waiting += value.values()
        elif kind is list and left > 0:
            waiting += value
    return left > 0


def of_row(row: Row) -> Line:
    """Return a row of the journal's table as a line."""
    return Line(**{name: getattr(row, name) for name in NAMES})
