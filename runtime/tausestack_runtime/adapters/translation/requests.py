"""Modern requests as a server of an earlier version takes them."""

from __future__ import annotations

from typing import Any

from tausestack.contract import META_PREFIX, VERSION
from tausestack.raw import as_object

NEWEST = "2025-11-25"
"""The newest version with an `initialize`; a server answers with the one that it speaks."""
EARLIER = (NEWEST, "2025-06-18", "2025-03-26", "2024-11-05")

PROTOCOL_META = "io.modelcontextprotocol/"

NEEDS = {
    "tools/list": "tools", "tools/call": "tools",
    "prompts/list": "prompts", "prompts/get": "prompts",
    "resources/list": "resources", "resources/templates/list": "resources", "resources/read": "resources",
    "completion/complete": "completions",
}  # fmt: skip
"""The methods that are passed on, and the capability that each belongs to."""
TASK_RESULT = "tasks/result"
"""The method of 2025-11-25 that waits for what comes of a task, and in whose course the task asks."""
ASKS_BACK = frozenset({"tools/call", "prompts/get", "resources/read", TASK_RESULT})
"""The methods in whose course a server may ask its client something."""
CACHEABLE = frozenset(
    {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read", "server/discover"}
)


def hello() -> dict[str, Any]:
    """Return the parameters of `initialize`: everything is offered, since each caller says what it can do itself."""
    capabilities: dict[str, Any] = {
        "elicitation": {"form": {}, "url": {}},
        "sampling": {"tools": {}, "context": {}},
        "roots": {},
    }
    client = {"name": "tausestack", "version": VERSION}
    return {"protocolVersion": NEWEST, "capabilities": capabilities, "clientInfo": client}


def foreign(meta: dict[str, Any]) -> dict[str, Any]:
    """Return a `_meta` without what speaks in our name."""
    return {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)}


def earlier(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without what only the modern protocol or we put into them."""
    meta = {
        key: value
        for key, value in foreign(as_object(params.get("_meta")) or {}).items()
        if not key.startswith(PROTOCOL_META) and key != "progressToken"
    }
    rest = {key: value for key, value in params.items() if key not in {"_meta", "inputResponses", "requestState"}}
    return {**rest, "_meta": meta} if meta else rest


def modern(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for a server that is modern itself: as they came, without the caller's own progress token."""
    meta = foreign(as_object(params.get("_meta")) or {})
    meta.pop("progressToken", None)
    return {**params, "_meta": meta}
