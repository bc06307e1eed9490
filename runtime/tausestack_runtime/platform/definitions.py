"""The tools of server `platform`, as they stand in every list."""

from __future__ import annotations

from typing import Any

from tausestack.contract import META_TOOL, ToolPolicy
from tausestack.scopes import SYSTEM, TENANT_ADMIN, TOOLS_READ

_TEXT = {"type": "string"}


def definitions() -> list[dict[str, Any]]:
    """Return the raw tool objects, sorted by name."""
    return sorted(
        [
            _tool(
                "decide_approval",
                "Approve or reject a call that waits for a person; edited arguments replace those that were asked for.",
                {
                    "id": {**_TEXT, "description": "The approval's id, such as apr_0123."},
                    "decision": {"enum": ["approve", "reject"]},
                    "reason": {**_TEXT, "description": "Why; the agent is told."},
                    "arguments": {"type": "object", "description": "Arguments to use instead."},
                },
                ["id", "decision"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[TENANT_ADMIN]),
            ),
            _tool(
                "delegate",
                "Let a run act for whoever started it, within the agent's bounds.",
                {
                    "tenant": _TEXT,
                    "principal": _TEXT,
                    "agent": _TEXT,
                    "run": _TEXT,
                    "scopes": {"type": "array", "items": _TEXT},
                    "bounds": {"type": "array", "items": _TEXT},
                },
                ["tenant", "principal", "agent", "run", "bounds"],
                ToolPolicy(side_effect="read", scopes=[SYSTEM]),
            ),
            _tool(
                "explain",
                "Say whether you may call a tool, and which rule decides that.",
                {"server": _TEXT, "tool": _TEXT},
                ["server", "tool"],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ]),
            ),
            _tool(
                "get_usage",
                "Sum up the calls of a period by tool: how many, how many failed, bytes and time.",
                {
                    "since": {**_TEXT, "format": "date-time", "description": "UTC, ISO 8601; inclusive."},
                    "until": {**_TEXT, "format": "date-time", "description": "UTC, ISO 8601; exclusive."},
                },
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ]),
            ),
            _tool(
                "list_approvals",
                "List the calls that wait for a person's approval, and those that were decided.",
                {"status": {"enum": ["pending", "approved", "rejected", "used", "withdrawn"]}},
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ]),
            ),
            _tool(
                "query_audit",
                "List audit entries, newest first: who called what, what was decided and what came of it.",
                {
                    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
                    "before": {"type": "integer", "description": "Only entries with a lower sequence number."},
                },
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ]),
            ),
            _tool(
                "verify_audit",
                "Check the tenant's audit chain from its first entry to its last.",
                {},
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ]),
            ),
            _tool(
                "withdraw_approvals",
                "Withdraw what a run that was cancelled still asks for.",
                {"run": _TEXT},
                ["run"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[SYSTEM]),
            ),
        ],
        key=lambda tool: tool["name"],
    )


def _tool(
    name: str, description: str, properties: dict[str, Any], required: list[str], policy: ToolPolicy
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return {
        "name": name,
        "description": description,
        "inputSchema": schema,
        "annotations": {"readOnlyHint": policy.side_effect == "read", "idempotentHint": policy.idempotent},
        "_meta": {META_TOOL: policy.model_dump()},
    }
