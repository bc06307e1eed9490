"""Approved definitions: what a third party's tool may look like at all, and the hash that it is approved by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

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
    tools: list[Pin],
) -> str:  # fmt: skip
    """Return the hash over what an approval is for.

    Of a package: its version, its command, its files and every tool; of a remote server: its URL, its protocols and
    every tool, not the version that it gives itself.
    """
    seen: dict[str, Any] = {"protocols": protocols} if registry_type == REMOTE else {"version": version, "argv": argv}
    return digest(
        {
            "ref": registry_type,
            "identifier": identifier,
            "files": dict(files),
            "tools": {pin.name: pin.sha256 for pin in tools},
            **seen,
        }
    )


def pinned(tools: list[dict[str, Any]]) -> list[Pin]:
    """Return the pins of a server's tools, quarantined, or raise `UpstreamError` saying why they can't be taken."""
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
        depths = [depth for depth, _ in _walk(tool)]
        if max(depths) > MAX_DEPTH:
            raise UpstreamError(f"the definition of {name} is nested deeper than {MAX_DEPTH}")
        if len(depths) > MAX_NODES:
            raise UpstreamError(f"the definition of {name} has more than {MAX_NODES} values")
        if any(_points_away(node) for _, node in _walk(tool["inputSchema"])):
            raise UpstreamError(f"the schema of {name} refers to another document")
    return [Pin(tool, digest(tool), "quarantined") for tool in tools]


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
