"""The words of 2026-07-28 in those of the earlier versions."""

from __future__ import annotations

import secrets
from typing import Any

import orjson

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_LOG_LEVEL_META,
    MCP_SERVER_META,
    MCP_VERSION_META,
    PROTOCOL_VERSION,
)
from tausestack.errors import INTERNAL_ERROR, INVALID_PARAMS
from tausestack.raw import as_array, as_object, given, object_at, object_in, objects_in
from tausestack_runtime.gateway.mcp.discovery import TASKS, capabilities_of, identity_of, instructions_of
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.snapshots import TenantSnapshot

RESOURCE_NOT_FOUND = -32002
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
DEFAULT_LEVEL = "info"
"""What a client is sent that has not said what it wants: its versions leave that to the server."""

STRUCTURED, AUDIO = "2025-06-18", "2025-03-26"
"""The versions from which on there are structured results and links to resources, and sound."""

_CAPABILITIES = frozenset({"completions", "experimental", "logging", "prompts", "resources", "tools"})
_OF_RESULTS = frozenset({"resultType", "ttlMs", "cacheScope"})
_OF_REQUESTS = frozenset({MCP_VERSION_META, MCP_CAPABILITIES_META, MCP_CLIENT_META, MCP_LOG_LEVEL_META})


def initialized(snapshot: TenantSnapshot, session: Session) -> dict[str, Any]:
    """Return the result of `initialize`."""
    offered = capabilities_of(snapshot, session.server)
    identity = identity_of(snapshot, session.server)
    return {
        "protocolVersion": session.version,
        "capabilities": _capabilities(offered),
        "serverInfo": {"name": "unnamed", "version": "0", **identity},
        **given({"instructions": instructions_of(snapshot, session.server)}),
    }


def _capabilities(offered: dict[str, Any]) -> dict[str, Any]:
    """Return what earlier versions have of an endpoint's capabilities; extensions are theirs too, but for tasks."""
    shown = {name: value for name, value in offered.items() if name in _CAPABILITIES}
    extensions = {name: value for name, value in object_in(offered, "extensions").items() if name != TASKS}
    return {**shown, "extensions": extensions} if extensions else shown


def modern_meta(session: Session, level: str | None, meta: dict[str, Any]) -> dict[str, Any]:
    """Return a request's `_meta` as 2026-07-28 has it, with what the session knows of its client."""
    return {
        **meta,
        MCP_VERSION_META: PROTOCOL_VERSION,
        MCP_CAPABILITIES_META: session.capabilities,
        MCP_CLIENT_META: session.client,
        MCP_LOG_LEVEL_META: level or DEFAULT_LEVEL,
    }


def earlier_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Return a request's `_meta` without what `modern_meta` added."""
    return {name: value for name, value in meta.items() if name not in _OF_REQUESTS}


def earlier_result(method: str, result: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a result as an earlier version has it."""
    shown = {name: value for name, value in result.items() if name not in _OF_RESULTS}
    meta = as_object(shown.get("_meta"))
    if meta is not None and MCP_SERVER_META in meta:
        kept = {name: value for name, value in meta.items() if name != MCP_SERVER_META}
        shown = {**shown, "_meta": kept} if kept else {name: each for name, each in shown.items() if name != "_meta"}
    if method == "tools/list":
        return {**shown, "tools": [_tool(tool, version) for tool in objects_in(shown.get("tools"))]}
    if method == "tools/call":
        return _called(shown, version)
    if method == "prompts/get" and version < STRUCTURED:
        messages = [
            {**each, "content": _block(each.get("content"), version)} for each in objects_in(shown.get("messages"))
        ]
        return {**shown, "messages": messages}
    return shown


def earlier_error(method: str, error: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON-RPC error as the earlier versions have it: those had a code for a resource that is not there.

    They reserved no codes either: what the tenant's host passes on of a server that says one of those is its own word.
    """
    if method == "resources/read" and error.get("code") == INVALID_PARAMS:
        return {**error, "code": RESOURCE_NOT_FOUND}
    data = object_in(error, "data")
    own = object_in(data, "upstream")
    if error.get("code") == INTERNAL_ERROR and len(data) == 1 and type(own.get("code")) is int and "message" in own:
        return own
    return error


def _tool(tool: dict[str, Any], version: str) -> dict[str, Any]:
    output = as_object(tool.get("outputSchema"))
    if output is None or (version >= STRUCTURED and output.get("type") == "object"):
        return tool
    # Before 2026-07-28 a structured result was an object, and before 2025-06-18 there was none.
    return {name: value for name, value in tool.items() if name != "outputSchema"}


def _called(result: dict[str, Any], version: str) -> dict[str, Any]:
    blocks = as_array(result.get("content")) or []
    if "structuredContent" in result:
        structured = result["structuredContent"]
        if version < STRUCTURED or not isinstance(structured, dict):
            result = {name: value for name, value in result.items() if name != "structuredContent"}
        if not blocks:
            blocks = [{"type": "text", "text": orjson.dumps(structured).decode()}]
    return {**result, "content": [_block(each, version) for each in blocks]}


def _block(block: Any, version: str) -> Any:
    """Return a block of content, as text where a version has no such kind."""
    one = as_object(block)
    if one is None or version >= STRUCTURED:
        return block
    kind = one.get("type")
    if kind == "resource_link":
        return {"type": "text", "text": str(one.get("uri"))}
    if kind == "audio" and version < AUDIO:
        return {"type": "text", "text": f"[audio: {one.get('mimeType')}]"}
    return block


def asked_of_client(request: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a request for input, of an `input_required` result, as an earlier version sends one to its client."""
    params = object_at(request, "params")
    if request.get("method") == "elicitation/create" and version < "2025-11-25" and params.get("mode") == "form":
        params = {name: value for name, value in params.items() if name != "mode"}
    if request.get("method") == "elicitation/create" and params.get("mode") == "url":
        # 2025-11-25 has each bear an id of its server's, and 2026-07-28 has no such thing.
        params = {"elicitationId": secrets.token_urlsafe(16), **params}
    return {"method": request.get("method"), **({"params": params} if params else {})}


def lacking(request: dict[str, Any], capabilities: dict[str, Any]) -> str | None:
    """Return the capability that a client would need to answer a request for input, or None where it has it."""
    method, params = request.get("method"), object_at(request, "params")
    if method == "roots/list":
        return None if "roots" in capabilities else "roots"
    if method == "sampling/createMessage":
        if "sampling" not in capabilities:
            return "sampling"
        wants_tools = "tools" in params or "toolChoice" in params
        return "sampling.tools" if wants_tools and "tools" not in object_at(capabilities, "sampling") else None
    if method == "elicitation/create":
        if "elicitation" not in capabilities:
            return "elicitation"
        by_url = params.get("mode") == "url"
        return "elicitation.url" if by_url and "url" not in object_at(capabilities, "elicitation") else None
    return f"an answer to {method}"
