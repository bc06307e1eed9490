"""What a third party's definitions may cost, and what everything it says may cost in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson

from tausestack.raw import as_array, as_object

MAX_TOOLS = 1000
MAX_NAME = 128
MAX_TOOL_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 5000
MAX_DESCRIPTION_BYTES = 8 * 1024
MAX_OFFERED = 1000
"""How many prompts, resources or templates an offer names."""
MAX_OFFER_BYTES = 1024 * 1024
MAX_INFO_BYTES = 4 * 1024

BURST_MESSAGES = 2000
MESSAGES_A_SECOND = 500


def trouble(tool: dict[str, Any]) -> str | None:
    """Return why a definition is more than a tool may be, or None where it is within every bound."""
    name = tool.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        return f"its name is none, or longer than {MAX_NAME} characters"
    description = tool.get("description")
    if isinstance(description, str) and len(description.encode(errors="replace")) > MAX_DESCRIPTION_BYTES:
        return f"its description is longer than {MAX_DESCRIPTION_BYTES // 1024} KiB"
    for nodes, depth in enumerate(_depths(tool), 1):
        if depth > MAX_DEPTH:
            return f"its definition is nested deeper than {MAX_DEPTH}"
        if nodes > MAX_NODES:
            return f"its definition has more than {MAX_NODES} values"
    if len(orjson.dumps(tool)) > MAX_TOOL_BYTES:
        return f"its definition is larger than {MAX_TOOL_BYTES // 1024} KiB"
    return None


def within_bounds(tools: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the tools that are within every bound, and of each other one its name and why it is not."""
    judged = [(tool, trouble(tool)) for tool in tools]
    fine = [tool for tool, wrong in judged if wrong is None]
    return fine, [
        {"name": str(tool.get("name", ""))[:MAX_NAME], "reason": wrong} for tool, wrong in judged if wrong is not None
    ]


def _depths(value: Any) -> Iterator[int]:
    stack: list[tuple[int, Any]] = [(0, value)]
    while stack:
        depth, node = stack.pop()
        yield depth
        below = as_object(node)
        children = list(below.values()) if below is not None else as_array(node) or []
        stack += [(depth + 1, child) for child in children]


def capped(items: list[dict[str, Any]], most_bytes: int) -> list[dict[str, Any]]:
    """Return the first items, as many as an offer has room for."""
    kept: list[dict[str, Any]] = []
    for item in items[:MAX_OFFERED]:
        most_bytes -= len(orjson.dumps(item))
        if most_bytes < 0:
            break
        kept.append(item)
    return kept


class Pace:
    """How fast a server may speak unasked: whoever says more is read more slowly, until its own pipe is full."""

    def __init__(self, burst: float = BURST_MESSAGES, a_second: float = MESSAGES_A_SECOND) -> None:
        self._left, self._most, self._rate = burst, burst, a_second
        self._at = asyncio.get_running_loop().time()

    async def spend(self) -> None:
        """Take one message's worth, waiting until there is as much."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._most, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)
