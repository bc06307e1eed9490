"""A tenant's own OpenAPI 3.1 document, generated from the very schemas that its MCP lists show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tausestack.contract import VERSION
from tausestack_runtime.gateway.installed import Tool
from tausestack_runtime.gateway.rest.fixed import IDEMPOTENCY_KEY, PROBLEM, fixed_paths
from tausestack_runtime.gateway.rest.rebasing import rebased


def document(tenant: str, tools: Iterable[Tool]) -> dict[str, Any]:
    """Return the document: one path a tool, its body the input schema, its answer the output schema; the fixed routes.

    `tools` are those that are shown to whoever asks, and of the fixed routes those that lead to them.
    """
    shown = list(tools)
    called = {f"/api/v2/tenants/{tenant}/tools/{tool.server}/{tool.name}": _path(tool) for tool in shown}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"TauseStack: {tenant}",
            "version": VERSION,
            "description": "Every tool of the tenant's installed servers, and the routes beside them.",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{"key": []}],
        "paths": {**fixed_paths(tenant, shown), **called},
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
            "default": PROBLEM,
        },
    }
    if tool.policy.side_effect != "read":
        operation["parameters"] = [IDEMPOTENCY_KEY]
    return {"post": operation}
