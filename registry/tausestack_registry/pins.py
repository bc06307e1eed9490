"""Approved definitions: what a third party's tool may look like at all, and the hash that it is approved by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from typing_extensions import TypedDict

from tausestack.contract import META_PREFIX
from tausestack.errors import UpstreamError
from tausestack.names import is_tool
from tausestack.raw import as_array, as_object, object_at
from tausestack_registry.refs import REMOTE

MAX_TOOLS = 1000
MAX_TOOL_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 5000
"""How many values a definition may have, at every depth together."""
MAX_DESCRIPTION_BYTES = 8 * 1024
MAX_NAME = 128


@dataclass(frozen=True)
class Pin:
    """A raw tool object and its approval."""

    raw: dict[str, Any]
    sha256: str
    status: str
    approved: str | None = None
    """The hash that was approved last; None: none ever was."""

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


class LeftOut(TypedDict):
    """A tool that a server lists and that can't be taken, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Difference:
    """How the tools that a server has now differ from those that are kept."""

    added: list[Pin]
    changed: list[Pin]
    vanished: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed)


def difference(kept: list[Pin], seen: list[Pin]) -> Difference:
    """Return what was added and changed, quarantined, and what vanished.

    A tool that is again as it was approved is active again.
    """
    before, now = {pin.name: pin for pin in kept}, {pin.name for pin in seen}
    changed: list[Pin] = []
    for pin in seen:
        known = before.get(pin.name)
        if known is not None and known.sha256 != pin.sha256:
            status = "active" if pin.sha256 == known.approved else "quarantined"
            changed.append(Pin(pin.raw, pin.sha256, status, known.approved))
    added = [Pin(pin.raw, pin.sha256, "quarantined") for pin in seen if pin.name not in before]
    return Difference(added, changed, [pin.name for pin in kept if pin.name not in now])


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, every field of it, as canonical JSON."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def plan_hash(
    registry_type: str, identifier: str, version: str, argv: list[str], files: Mapping[str, str], protocols: list[str],
    tools: list[Pin], instructions: str | None,
) -> str:  # fmt: skip
    """Return the hash over what an approval is for: whatever of a server runs here, or is said to models in its name.

    Of a package: its version, its command, its files, its instructions and every tool; of a remote server: its URL, its
    protocols, its instructions and every tool, not the version that it gives itself.
    """
    seen: dict[str, Any] = {"protocols": protocols} if registry_type == REMOTE else {"version": version, "argv": argv}
    return digest(
        {
            "ref": registry_type,
            "identifier": identifier,
            "files": dict(files),
            "tools": {pin.name: pin.sha256 for pin in tools},
            "instructions": instructions,
            **seen,
        }
    )


def pinned(tools: list[dict[str, Any]]) -> tuple[list[Pin], list[LeftOut]]:
    """Return the pins of a server's tools, quarantined, and the tools that can't be taken, each with the reason.

    One odd tool costs a tenant no other; raises `UpstreamError` where there are too many of them.
    """
    if len(tools) > MAX_TOOLS:
        raise UpstreamError(f"the server lists {len(tools)} tools; {MAX_TOOLS} are the most")
    pins: dict[str, Pin] = {}
    left_out: dict[str, LeftOut] = {}
    for tool in tools:
        name = str(tool.get("name", ""))
        known = pins.get(name)
        found = digest(tool)
        if known is not None and known.sha256 != found:
            # Which of the two is called by that name nobody can tell.
            del pins[name]
            left_out[name] = LeftOut(name=name, reason="it is listed twice, as two different tools")
        elif name not in left_out:
            reason = _trouble(tool)
            if reason is None:
                pins[name] = Pin(tool, found, "quarantined")
            else:
                left_out[name] = LeftOut(name=name[:MAX_NAME], reason=reason)
    return list(pins.values()), list(left_out.values())


def _trouble(tool: dict[str, Any]) -> str | None:
    """Return why a tool can't be taken, or None where it can."""
    name = tool.get("name")
    if not isinstance(name, str) or not is_tool(name):
        return f"its name is none that a tool can have: 1 to {MAX_NAME} of A-Z, a-z, 0-9, '_', '-' and '.'"
    schema = as_object(tool.get("inputSchema"))
    if schema is None:
        return "it has no input schema"
    if schema.get("type", "object") != "object":
        return "its input is no object"
    if len(orjson.dumps(tool)) > MAX_TOOL_BYTES:
        return f"its definition is larger than {MAX_TOOL_BYTES // 1024} KiB"
    description = tool.get("description")
    if isinstance(description, str) and len(description.encode(errors="replace")) > MAX_DESCRIPTION_BYTES:
        return f"its description is longer than {MAX_DESCRIPTION_BYTES // 1024} KiB"
    for nodes, (depth, _) in enumerate(_walk(tool), 1):
        if depth > MAX_DEPTH:
            return f"its definition is nested deeper than {MAX_DEPTH}"
        if nodes > MAX_NODES:
            return f"its definition has more than {MAX_NODES} values"
    schemas = (tool["inputSchema"], tool.get("outputSchema"))
    if any(_points_away(node) for schema in schemas for _, node in _walk(schema)):
        return "its schema refers to another document"
    return None


def _points_away(node: Any) -> bool:
    targets = (object_at(node).get(word) for word in ("$ref", "$dynamicRef"))
    return any(isinstance(target, str) and not target.startswith("#") for target in targets)


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
