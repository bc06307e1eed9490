"""A tenant's own OpenAPI 3.1 document, generated from the very schemas that its MCP lists show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tausestack.contract import VERSION
from tausestack.raw import as_array, as_object
from tausestack_runtime.gateway.call import MAX_KEY
from tausestack_runtime.gateway.installed import Tool

MAX_NESTING = 8
"""How deep a schema that refers to itself is written out."""

_PROBLEM = {"$ref": "#/components/responses/Problem"}


def document(tenant: str, tools: Iterable[Tool]) -> dict[str, Any]:
    """Return the document: one path a tool, its body the input schema, its answer the output schema."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"TauseStack: {tenant}",
            "version": VERSION,
            "description": "Every tool of the tenant's installed servers.",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{"key": []}],
        "paths": {f"/api/v2/tenants/{tenant}/tools/{tool.server}/{tool.name}": _path(tool) for tool in tools},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Problem": {
                    "description": "RFC 9457 problem; `code` is stable.",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "code", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "code": {"type": "string"},
                        "detail": {"type": "string"},
                    },
                },
                "Content": {
                    "type": "object",
                    "required": ["content"],
                    "properties": {"content": {"type": "array", "items": {"type": "object"}}},
                },
            },
        },
    }


def _path(tool: Tool) -> dict[str, Any]:
    answer = tool.raw.get("outputSchema") or {"$ref": "#/components/schemas/Content"}
    operation: dict[str, Any] = {
        "operationId": tool.wire,
        "tags": [tool.server],
        "summary": str(tool.raw.get("title") or tool.name),
        "description": str(tool.raw.get("description") or ""),
        "requestBody": {
            "required": bool(tool.raw.get("inputSchema", {}).get("required")),
            "content": {"application/json": {"schema": rebased(tool.raw.get("inputSchema") or {"type": "object"})}},
        },
        "responses": {
            "200": {
                "description": "The tool's structured result, or its content where it has none.",
                "content": {"application/json": {"schema": rebased(answer)}},
            },
            "default": _PROBLEM,
        },
    }
    if tool.policy.side_effect != "read":
        operation["parameters"] = [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": MAX_KEY},
                "description": "The same key and arguments are one write, however often they are sent.",
            }
        ]
    return {"post": operation}


def rebased(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose `#/…` references still hold inside the document: it becomes a resource of its own."""
    if "$defs" not in schema and "definitions" not in schema:
        return schema
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    return _inlined(
        {name: value for name, value in schema.items() if name not in {"$defs", "definitions"}}, definitions, 0
    )


def _inlined(node: Any, definitions: dict[str, Any], depth: int) -> Any:
    """Put each local definition where it is referred to; one that goes on for ever ends as any value."""
    items = as_array(node)
    if items is not None:
        return [_inlined(item, definitions, depth) for item in items]
    fields = as_object(node)
    if fields is None:
        return node
    reference = fields.get("$ref")
    if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
        found = definitions.get(reference.rsplit("/", 1)[1])
        if found is None or depth > MAX_NESTING:
            return {}
        rest = {name: value for name, value in fields.items() if name != "$ref"}
        return {**_inlined(found, definitions, depth + 1), **_inlined(rest, definitions, depth)}
    return {name: _inlined(value, definitions, depth) for name, value in fields.items()}
