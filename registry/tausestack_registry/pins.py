"""Approved definitions: what a third party's tool may look like at all, and the hash that it is approved by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tausestack.contract import META_PREFIX
from tausestack.errors import UpstreamError
from tausestack.names import is_tool
from tausestack.raw import as_array, as_object, object_at

MAX_TOOLS = 1000
MAX_TOOL_BYTES = 256 * 1024
MAX_DEPTH = 32


@dataclass(frozen=True)
class Pin:
    """A raw tool object and its approval."""

    raw: dict[str, Any]
    sha256: str
    status: str

    @property
    def name(self) -> str:
        """The tool's name on its own server."""
        return str(self.raw["name"])

    def shown(self) -> dict[str, Any]:
        """Return the tool as it is listed: with its status, and without what it may not say in our name."""
        meta = as_object(self.raw.get("_meta"))
        shown = {**self.raw, "status": self.status}
        if meta is not None:
            shown["_meta"] = {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)}
        return shown


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, every field of it, as canonical JSON."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def pinned(tools: list[dict[str, Any]], status: str) -> list[Pin]:
    """Return the pins of a server's tools, or raise `UpstreamError` saying why it can't be installed."""
    if len(tools) > MAX_TOOLS:
        raise UpstreamError(f"the server lists {len(tools)} tools; {MAX_TOOLS} are the most")
    seen: set[str] = set()
    for tool in tools:
        name = tool.get("name")
        if not isinstance(name, str) or not is_tool(name):
            raise UpstreamError("the server lists a tool whose name is none")
        if name in seen:
            raise UpstreamError(f"the server lists {name} twice")
        seen.add(name)
        if as_object(tool.get("inputSchema")) is None:
            raise UpstreamError(f"{name} has no input schema")
        if len(orjson.dumps(tool)) > MAX_TOOL_BYTES:
            raise UpstreamError(f"the definition of {name} is larger than {MAX_TOOL_BYTES // 1024} KiB")
        if any(depth > MAX_DEPTH for depth, _ in _walk(tool)):
            raise UpstreamError(f"the definition of {name} is nested deeper than {MAX_DEPTH}")
        if any(_points_away(node) for _, node in _walk(tool["inputSchema"])):
            raise UpstreamError(f"the schema of {name} refers to another document")
    return [Pin(tool, digest(tool), status) for tool in tools]


def _points_away(node: Any) -> bool:
    target = object_at(node).get("$ref")
    return isinstance(target, str) and not target.startswith("#")


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    stack: list[tuple[int, Any]] = [(0, value)]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        if depth > MAX_DEPTH:
            continue
        below = as_object(node)
        children = list(below.values()) if below is not None else as_array(node) or []
        stack += [(depth + 1, child) for child in children]
