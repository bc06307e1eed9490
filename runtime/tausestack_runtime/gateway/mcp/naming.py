"""What names mean on a merged endpoint, and how a server's own names leave through it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tausestack.errors import InvalidRequest
from tausestack.names import parse_resource_uri, resource_template, resource_uri, task_id, wire_name
from tausestack.raw import as_array, as_object, objects_in
from tausestack_runtime.gateway.installed import Installation, Tool
from tausestack_runtime.gateway.mcp.discovery import capabilities_of, has_tasks
from tausestack_runtime.gateway.snapshots import TenantSnapshot

_SHORTENED = re.compile(r"_[0-9a-f]{10}\Z")


@dataclass(frozen=True, slots=True)
class Named:
    """A server, and what something is called there."""

    installation: Installation
    name: str


def prompt(snapshot: TenantSnapshot, name: str) -> Named | None:
    """Return the server and prompt that a merged name says, or None where it says none."""
    server, found, rest = name.partition("__")
    installation = snapshot.installations.get(server)
    if found and installation is not None and wire_name(server, rest) == name:
        return Named(installation, rest)
    return None


def waiting(snapshot: TenantSnapshot, name: str) -> Tool | None:
    """Return the tool that would have a merged name, had it been approved as it is."""
    for one in snapshot.installations.values():
        if one.default or name.startswith(f"{one.name}__"):
            for tool in one.tools.values():
                if tool.status != "active" and (tool.wire == name or (one.default and tool.name == name)):
                    return tool
    return None


def looks_shortened(name: str) -> bool:
    """Whether a merged name may be one that `wire_name` shortened; a prompt's own name may end like that too."""
    return _SHORTENED.search(name) is not None


def plain(snapshot: TenantSnapshot, name: str) -> Named | None:
    """Return the default server, where there is one, and a name that is its own."""
    return None if snapshot.default is None else Named(snapshot.default, name)


def resource(snapshot: TenantSnapshot, uri: str) -> Named | None:
    """Return the server and URI that a merged URI means; what is no URI of ours is the default server's."""
    try:
        server, original = parse_resource_uri(uri)
    except InvalidRequest:
        return plain(snapshot, uri)
    installation = snapshot.installations.get(server)
    return None if installation is None else Named(installation, original)


def task(snapshot: TenantSnapshot, identifier: str) -> Named | None:
    """Return the server and task that a merged id means; any other is the default server's, where that has tasks."""
    server, found, rest = identifier.partition(":")
    installation = snapshot.installations.get(server)
    if found and installation is not None:
        return Named(installation, rest)
    default = snapshot.default
    return plain(snapshot, identifier) if default and has_tasks(capabilities_of(snapshot, default.name)) else None


@dataclass(frozen=True, slots=True)
class Outward:
    """How one server's things are named where they leave; on its own endpoint, and by default, as they are."""

    server: str
    plain: bool
    asked: Mapping[str, str] = field(default_factory=dict[str, str])
    """By a resource's own URI the one that a client asked by, where that may be another than lists have."""

    def prompt(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a prompt's definition."""
        return self._renamed(raw, "name", lambda name: wire_name(self.server, name))

    def resource(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a resource's, or anything else's with a `uri`."""
        return self._renamed(raw, "uri", lambda uri: self.asked.get(uri) or resource_uri(self.server, uri))

    def template(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a resource template's definition."""
        return self._renamed(raw, "uriTemplate", lambda template: resource_template(self.server, template))

    def task(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a task, or a notification of one."""
        return self._renamed(raw, "taskId", lambda identifier: task_id(self.server, identifier))

    def result(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a method with every name in it as it leaves."""
        if self.plain:
            return result
        if method == "resources/read":
            contents = [self.resource(each) for each in objects_in(result.get("contents"))]
            return {**result, "contents": contents} if "contents" in result else result
        if method == "prompts/get":
            messages = [self._message(each) for each in objects_in(result.get("messages"))]
            return {**result, "messages": messages} if "messages" in result else result
        shown = self.task(result)
        inner = as_object(shown.get("result"))
        if inner is not None:
            shown = {**shown, "result": self._content(inner)}
        return self._content(shown)

    def _content(self, result: dict[str, Any]) -> dict[str, Any]:
        blocks = as_array(result.get("content"))
        if blocks is None:
            return result
        return {**result, "content": [self._block(each) for each in blocks]}

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        return {**message, "content": self._block(message["content"])} if "content" in message else message

    def _block(self, block: Any) -> Any:
        one = as_object(block)
        if one is None:
            return block
        if one.get("type") == "resource_link":
            return self.resource(one)
        embedded = as_object(one.get("resource")) if one.get("type") == "resource" else None
        return one if embedded is None else {**one, "resource": self.resource(embedded)}

    def _renamed(self, raw: dict[str, Any], field: str, rename: Callable[[str], str]) -> dict[str, Any]:
        value = raw.get(field)
        return raw if self.plain or not isinstance(value, str) else {**raw, field: rename(value)}


def needs_renaming(raw: bytes) -> bool:
    """Whether the bytes of a tool's result may hold a name that is not for the merged endpoint."""
    # A letter of a key may be written as its number.
    return raw.find(b'"uri"') >= 0 or raw.find(b'"taskId"') >= 0 or raw.find(b"\\u00") >= 0
