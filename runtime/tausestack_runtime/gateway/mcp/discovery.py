"""What an endpoint says of itself: its versions, its name, and what it can do."""

from __future__ import annotations

from typing import Any

from tausestack.contract import MCP_SERVER_META, VERSION
from tausestack.raw import as_object, given, object_at
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.mcp.envelope import SUPPORTED
from tausestack_runtime.gateway.snapshots import TenantSnapshot

DISCOVERY_TTL_MS = 5_000
TASKS = "io.modelcontextprotocol/tasks"
MAX_INSTRUCTIONS = 16_000
"""How many characters of servers' instructions are put together."""

_TASKING = frozenset({"optional", "required"})
_LISTED = ("tools", "prompts", "resources")


def discovery(snapshot: TenantSnapshot, server: str | None) -> dict[str, Any]:
    """Return the result of `server/discover`."""
    return {
        "resultType": "complete",
        "supportedVersions": list(SUPPORTED),
        "capabilities": capabilities_of(snapshot, server),
        **given({"instructions": instructions_of(snapshot, server)}),
        "ttlMs": DISCOVERY_TTL_MS,
        "cacheScope": "private",
        "_meta": {MCP_SERVER_META: identity_of(snapshot, server)},
    }


def capabilities_of(snapshot: TenantSnapshot, server: str | None) -> dict[str, Any]:
    """Return what an endpoint can do: a server what it says, the merged endpoint what any of its servers says."""
    if server is not None:
        return _own(snapshot.installations[server])
    merged: dict[str, Any] = {name: {} for name in _LISTED}
    for one in snapshot.installations.values():
        merged = _joined(merged, _own(one))
    # Installing and uninstalling changes every list, whatever the servers themselves can tell.
    for name in _LISTED:
        merged[name] = {**merged[name], "listChanged": True}
    return merged


def has_tasks(capabilities: dict[str, Any]) -> bool:
    """Whether somebody who can do this, an endpoint or a client, can do tasks."""
    return TASKS in object_at(capabilities, "extensions")


def identity_of(snapshot: TenantSnapshot, server: str | None) -> dict[str, Any]:
    """Return the name and version that an endpoint goes by: a third party's as it says, for people to read."""
    if server is None:
        return {"name": "tausestack", "title": "TauseStack", "version": VERSION}
    one = snapshot.installations[server]
    if one.offer.server:
        return one.offer.server
    return {"name": one.name, "title": one.title, "version": one.version or VERSION}


def instructions_of(snapshot: TenantSnapshot, server: str | None) -> str | None:
    """Return how to use an endpoint's servers, in their own words, each under its name on the merged endpoint."""
    if server is not None:
        return snapshot.installations[server].offer.instructions
    said = [(one.name, one.offer.instructions) for one in snapshot.installations.values()]
    parts = [f"# {name}\n{text}" for name, text in said if text]
    return "\n\n".join(parts)[:MAX_INSTRUCTIONS] or None


def _own(one: Installation) -> dict[str, Any]:
    if one.foreign:
        said = one.offer.capabilities
        # A tool that changed is approved here, and not there: its list changes with the approval.
        return {**said, "tools": {**object_at(said, "tools"), "listChanged": True}}
    capabilities: dict[str, Any] = {"tools": {"listChanged": True}}
    if any(object_at(tool.raw, "execution").get("taskSupport") in _TASKING for tool in one.tools.values()):
        capabilities["extensions"] = {TASKS: {}}
    return capabilities


def _joined(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return two capability objects as one: what either can do."""
    joined = dict(left)
    for name, value in right.items():
        both = as_object(joined.get(name)), as_object(value)
        if both[0] is not None and both[1] is not None:
            joined[name] = _joined(both[0], both[1])
        elif joined.get(name) is not True:  # what one says that it can't, another can
            joined[name] = value
    return joined
