"""The fixed routes of a tenant as its OpenAPI document shows them, from the routes' table and their tools' schemas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.call import MAX_KEY
from tausestack_runtime.gateway.installed import Tool
from tausestack_runtime.gateway.rest.rebasing import rebased
from tausestack_runtime.gateway.rest.resources import RESOURCES, Known, Resource, Whole

PROBLEM = {"$ref": "#/components/responses/Problem"}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": MAX_KEY},
    "description": "The same key and arguments are one write, however often they are sent.",
}
_OBJECT = {"type": "object"}
_STATED: tuple[dict[str, Any], ...] = ({}, {"status": "success", "new": True})
"""Results by which a route may answer with one status or another."""


def fixed_paths(tenant: str, tools: Iterable[Tool]) -> dict[str, dict[str, Any]]:
    """Return the operations by path and method of the routes whose tools are among those that are shown."""
    known = {f"{tool.server}/{tool.name}": tool for tool in tools}
    found: dict[str, dict[str, Any]] = {}
    for resource in RESOURCES:
        tool = known.get(f"{resource.server}/{resource.tool}")
        if tool is not None:
            _at(found, tenant, resource.path)[resource.method.lower()] = _operation(resource, tool)
    for (path, needs), operation in _OWN.items():
        if needs is None or needs in known:
            _at(found, tenant, path)["get"] = {"operationId": _name("GET", path), **operation}
    for path, about in _OPERATIONS.items():
        answer = {"200": {"description": about}, "default": PROBLEM}
        operation = {"operationId": _name("GET", path[1:]), "tags": ["health"], "security": [], "summary": about}
        found[path] = {"get": {**operation, "responses": answer}}
    return found


def _at(found: dict[str, dict[str, Any]], tenant: str, path: str) -> dict[str, Any]:
    return found.setdefault(f"/api/v2/tenants/{tenant}/{path}", {})


def _name(method: str, path: str) -> str:
    """Return an operation's name; a tool's has two underscores, and so is another."""
    return "_".join([method.lower(), *re.findall(r"\w+", path)])


def _operation(resource: Resource, tool: Tool) -> dict[str, Any]:
    schema = rebased(tool.raw.get("inputSchema") or _OBJECT)
    properties, required = object_at(schema, "properties"), {str(name) for name in schema.get("required") or ()}
    fields: list[str] = re.findall(r"\{(\w+)\}", resource.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _of_path(properties.get(name))} for name in fields
    ]
    operation: dict[str, Any] = {
        "operationId": _name(resource.method, resource.path),
        "tags": [resource.path.partition("/")[0]],
        "summary": str(tool.raw.get("title") or tool.name),
        "description": str(tool.raw.get("description") or ""),
    }
    rest = {name: each for name, each in properties.items() if name not in fields}
    if resource.method in {"POST", "PATCH"}:
        if isinstance(resource.arguments, Whole):
            body, needed = rest[resource.arguments.argument], {resource.arguments.argument}
        else:
            if isinstance(resource.arguments, Known):
                del rest[resource.arguments.argument]
            needed = required - {*fields}
            body = {"type": "object", "properties": rest, **({"required": sorted(needed)} if needed else {})}
        operation["requestBody"] = {"required": bool(needed), "content": {"application/json": {"schema": body}}}
    else:
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": each} for name, each in rest.items()
        ]
    if tool.policy.side_effect != "read":
        parameters.append(IDEMPOTENCY_KEY)
    if parameters:
        operation["parameters"] = parameters
    content = {"application/json": {"schema": rebased(tool.raw.get("outputSchema") or _OBJECT)}}
    statuses = sorted({resource.status(result) for result in _STATED})
    operation["responses"] = {
        **{str(status): {"description": _ANSWERS.get(status, "Done."), "content": content} for status in statuses},
        "default": PROBLEM,
    }
    return operation


def _of_path(schema: Any) -> dict[str, Any]:
    """Return the schema of a part of a path, which is a text and never left out."""
    found = as_object(schema) or {}
    return {
        "type": "string",
        **{name: found[name] for name in ("description", "pattern", "maxLength") if name in found},
    }


_ANSWERS: Mapping[int, str] = {201: "Made.", 202: "Accepted: it goes on by itself."}
_RUN = {"name": "run", "in": "path", "required": True, "schema": {"type": "string"}}
_SERVER = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_LISTED: dict[str, Any] = {
    "type": "object",
    "required": ["tools", "next_cursor"],
    "properties": {
        "tools": {"type": "array", "items": {"type": "object", "required": ["address", "server", "name"]}},
        "next_cursor": {"type": ["string", "null"]},
    },
}


def _answer(about: str, schema: Mapping[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"200": {"description": about, "content": {kind: {"schema": schema}}}, "default": PROBLEM}


_OWN: Mapping[tuple[str, str | None], dict[str, Any]] = {
    ("tools", None): {
        "tags": ["tools"],
        "summary": "List or search tools",
        "parameters": [
            {"name": "search", "in": "query", "schema": {"type": "string"}, "description": "Best first."},
            {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1}},
            {"name": "cursor", "in": "query", "schema": {"type": "string"}, "description": "An earlier `next_cursor`."},
        ],
        "responses": _answer("The tools that this credential may see.", _LISTED),
    },
    ("openapi.json", None): {
        "tags": ["tools"],
        "summary": "This document",
        "responses": _answer("OpenAPI 3.1.", _OBJECT),
    },
    ("docs", None): {
        "tags": ["tools"],
        "summary": "This document as a page",
        "security": [],
        "responses": _answer("A page that asks for a key.", {"type": "string"}, "text/html"),
    },
    ("runs/{run}/events", "agents/get_run"): {
        "tags": ["runs"],
        "summary": "Follow a run's events",
        "description": "Server-sent events, numbered from 1 without gaps; the stream ends once the run ended.",
        "parameters": [
            _RUN,
            {
                "name": "Last-Event-ID",
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
                "description": "The number of the event that came last: only those after it are told.",
            },
        ],
        "responses": _answer("The events.", {"type": "string"}, "text/event-stream"),
    },
    ("servers/{name}", "registry/list_installed"): {
        "tags": ["servers"],
        "summary": "Show an installed server and its health",
        "parameters": [_SERVER],
        "responses": _answer("The server.", _OBJECT),
    },
}
"""The routes that are more than one tool under a REST name, by path and the tool that has to be shown for it."""
_OPERATIONS: Mapping[str, str] = {
    "/health": "Whether the gateway is up",
    "/health/ready": "Whether it can serve: credentials can be checked, installations found",
    "/metrics": "Prometheus metrics",
}
