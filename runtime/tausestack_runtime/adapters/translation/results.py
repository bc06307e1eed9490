"""What a server of an earlier version answers, as the modern protocol has it."""

from __future__ import annotations

from typing import Any

import orjson

from tausestack.contract import MCP_SERVER_META, META_PREFIX, PROTOCOL_VERSION
from tausestack.errors import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_CLIENT_CAPABILITY,
    UNSUPPORTED_PROTOCOL_VERSION,
    TauseError,
    UpstreamError,
    tree,
)
from tausestack.raw import as_object, objects_in
from tausestack_runtime.adapters.asked import Answered
from tausestack_runtime.adapters.bounds import MAX_INFO_BYTES
from tausestack_runtime.adapters.translation.requests import CACHEABLE, foreign

RESOURCE_NOT_FOUND = -32002
URL_ELICITATION_REQUIRED = -32042
"""Codes of earlier versions that the modern protocol never says."""
_RESERVED = range(-32099, -32019)
_DEFINED = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_PROTOCOL_VERSION})
"""Of the reserved codes, those that the modern protocol has given a meaning."""

UNSAID = "the server refused, and did not say why"

LISTS_FRESH_MS = 60_000
"""How long a list is fresh that its server promises to tell of changes to."""
UNTOLD_FRESH_MS = 5_000

_PASSED = ("tools", "prompts", "resources", "completions", "logging", "experimental")
_TASKS = "io.modelcontextprotocol/tasks"


def capabilities(said: dict[str, Any]) -> dict[str, Any]:
    """Return an earlier server's capabilities in modern words: what the host can't keep is not promised."""
    found = {name: said[name] for name in _PASSED if as_object(said.get(name)) is not None}
    extensions = {key: value for key, value in (as_object(said.get("extensions")) or {}).items() if key != _TASKS}
    return {**found, "extensions": extensions} if extensions else found


def short(info: dict[str, Any]) -> dict[str, Any]:
    """Return what a server calls itself, without its icons and the like where they are large."""
    if len(orjson.dumps(info)) <= MAX_INFO_BYTES:
        return info
    return {key: str(info.get(key, ""))[:200] for key in ("name", "version")}


def discovered(info: dict[str, Any], offered: dict[str, Any], instructions: str | None) -> dict[str, Any]:
    """Return the result of `server/discover`."""
    said: dict[str, Any] = {"supportedVersions": [PROTOCOL_VERSION], "capabilities": offered}
    if instructions is not None:
        said["instructions"] = instructions
    return complete("server/discover", said, info, offered)


def complete(
    method: str, result: dict[str, Any], info: dict[str, Any] | None, offered: dict[str, Any]
) -> dict[str, Any]:
    """Return a result with what every modern one has, and with nothing in it that speaks in our name.

    `info` is what the server calls itself, put into `_meta` where the server has not; `offered` are its capabilities.
    """
    meta = as_object(result.get("_meta")) or {}
    if info is not None and MCP_SERVER_META not in meta:
        meta = {**meta, MCP_SERVER_META: info}
    if any(key.startswith(META_PREFIX) for key in meta):
        meta = foreign(meta)
    whole = {"resultType": "complete", **result}
    if meta:
        whole["_meta"] = meta
    else:
        whole.pop("_meta", None)
    if method == "tools/call" and whole["resultType"] == "complete" and whole.get("content") is None:
        whole["content"] = []  # every client may count on it
    if method in CACHEABLE and whole["resultType"] == "complete":
        fresh, scope = whole.get("ttlMs"), whole.get("cacheScope")
        if type(fresh) is not int or fresh < 0:
            whole["ttlMs"] = _fresh(method, offered)
        if scope not in {"public", "private"}:
            whole["cacheScope"] = "private"
    return whole


def _fresh(method: str, offered: dict[str, Any]) -> int:
    if method == "server/discover":
        return LISTS_FRESH_MS
    if method == "resources/read":
        return 0
    told = (as_object(offered.get(method.partition("/")[0])) or {}).get("listChanged") is True
    return LISTS_FRESH_MS if told else UNTOLD_FRESH_MS


def refusal(answered: Answered, *, is_modern: bool) -> Answered | UpstreamError:
    """Return what a server's error is raised as: a status alone is no error of the server's own."""
    if answered.spoken is not None:
        return UpstreamError(str(answered), http=answered.spoken)
    return Answered(error(answered.error, is_modern=is_modern))


def error(raw: dict[str, Any], *, is_modern: bool) -> dict[str, Any]:
    """Return a server's JSON-RPC error as it may leave the host: as it came where it can, but never as one of ours.

    One whose `data` speaks as ours do is handed to the gateway under `answered`, which passes that on.
    """
    said = _coded(raw, is_modern=is_modern)
    ours = {kind.code for kind in tree(TauseError)}
    if (as_object(said.get("data")) or {}).get("code") in ours:
        return {**said, "data": {"code": UpstreamError.code, "answered": said}}
    return said


def _coded(raw: dict[str, Any], *, is_modern: bool) -> dict[str, Any]:
    if not isinstance(raw.get("message"), str):
        raw = {**raw, "message": UNSAID}  # clients can't read an error without words
    code = raw.get("code")
    if code == RESOURCE_NOT_FOUND:
        return {**raw, "code": INVALID_PARAMS}
    if type(code) is not int or (code in _RESERVED and not (is_modern and code in _DEFINED)):
        return {"code": INTERNAL_ERROR, "message": str(raw.get("message", ""))[:1000], "data": {"upstream": raw}}
    return raw


def urls_to_visit(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pages that an earlier server's error asks the caller to visit first; empty where it asks for none."""
    if raw.get("code") != URL_ELICITATION_REQUIRED:
        return []
    asked = objects_in((as_object(raw.get("data")) or {}).get("elicitations"))
    return [one for one in asked if one.get("mode", "url") == "url" and isinstance(one.get("url"), str)]
