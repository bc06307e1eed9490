"""The tools of server `platform`, as they stand in every list."""

from __future__ import annotations

from typing import Any

from tausestack.contract import META_TOOL, ToolPolicy
from tausestack.scopes import OPERATOR, SYSTEM, TENANT_ADMIN, TOOLS_READ
from tausestack_runtime.gateway.limits.allowances import KINDS, UNLIMITED
from tausestack_runtime.ledger.prices import FREE

_CURSOR = {"type": "string", "description": "What an earlier page gave as next_cursor."}
_TEXT = {"type": "string"}
_AMOUNT = {"tokens": {"type": "integer", "minimum": 0}, "usd": {"type": "number", "minimum": 0}}
_AGENTS_AMOUNT = {f"agent_{name}": schema for name, schema in _AMOUNT.items()}
"""What an agent may use in a month, where its spec says so."""


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
                ToolPolicy(side_effect="write", idempotent=True, scopes=[TENANT_ADMIN], price=FREE),
            ),
            _tool(
                "decide_for",
                "Approve or reject a call for whoever said so in a task that is theirs alone.",
                {
                    "tenant": _TEXT,
                    "principal": _TEXT,
                    "id": _TEXT,
                    "decision": {"enum": ["approve", "reject"]},
                    "reason": _TEXT,
                    "arguments": {"type": "object"},
                },
                ["tenant", "principal", "id", "decision"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[SYSTEM], price=FREE),
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
                    "incarnation": {**_TEXT, "description": "Which of the tenants that have had this id, where known."},
                },
                ["tenant", "principal", "agent", "run", "bounds"],
                ToolPolicy(side_effect="read", scopes=[SYSTEM], price=FREE),
            ),
            _tool(
                "explain",
                "Say whether you may call a tool, and which rule decides that; an admin may ask about others.",
                {
                    "server": _TEXT,
                    "tool": _TEXT,
                    "principal": {**_TEXT, "description": "Whom to ask about, such as user:ana or key:k3v9x0a1b2c3."},
                },
                ["server", "tool"],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ], price=FREE),
            ),
            _tool(
                "get_limits",
                "Show this tenant's limits: what each allows, what is used and left of it, and when it comes back.",
                {},
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ]),
            ),
            _tool(
                "get_usage",
                "Sum up the calls of a period by tool, principal, agent and day: how many, what failed, time, cost.",
                {
                    "since": {**_TEXT, "format": "date-time", "description": "UTC, ISO 8601; inclusive."},
                    "until": {**_TEXT, "format": "date-time", "description": "UTC, ISO 8601; exclusive."},
                },
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ], price=FREE),
            ),
            _tool(
                "list_approvals",
                "List the calls that wait for a person's approval, and those that were decided.",
                {
                    "status": {"enum": ["pending", "approved", "rejected", "used", "withdrawn", "expired"]},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 200},
                    "cursor": _CURSOR,
                },
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ], price=FREE),
            ),
            _tool(
                "list_tenants",
                "List every tenant, its billing plan and status.",
                {},
                [],
                ToolPolicy(side_effect="read", scopes=[OPERATOR]),
            ),
            _tool(
                "query_audit",
                "List audit entries, newest first: who called what, what was decided and what came of it.",
                {
                    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
                    "before": {"type": "integer", "description": "Only entries with a lower sequence number."},
                    "cursor": _CURSOR,
                },
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ], price=FREE),
            ),
            _tool(
                "reserve",
                "Set tokens and money aside for a request to a language model.",
                {"tenant": _TEXT, "id": _TEXT, "run": _TEXT, "agent": _TEXT, **_AMOUNT, **_AGENTS_AMOUNT},
                ["id", "tokens", "usd"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[SYSTEM]),
            ),
            _tool(
                "seal",
                "Have the secrets among the arguments of a run's call sealed, so that they can be kept.",
                {"tenant": _TEXT, "run": _TEXT, "server": _TEXT, "tool": _TEXT, "arguments": {"type": "object"}},
                ["tenant", "run", "server", "tool", "arguments"],
                ToolPolicy(side_effect="read", scopes=[SYSTEM], price=FREE),
            ),
            _tool(
                "set_limits",
                "Set a tenant's own limits over its billing plan's; in force everywhere within a second.",
                {
                    "tenant": _TEXT,
                    "limits": {
                        "type": "object",
                        "description": f"By name an amount, '{UNLIMITED}', or null for the plan's: {', '.join(KINDS)}.",
                    },
                },
                ["tenant", "limits"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[OPERATOR]),
            ),
            _tool(
                "settle",
                "Count what a request to a language model used in place of what was set aside for it.",
                {"tenant": _TEXT, "id": _TEXT, "run": _TEXT, **_AMOUNT},
                ["id", "tokens", "usd"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[SYSTEM]),
            ),
            _tool(
                "delete_tenant",
                "Delete all that there is of a tenant, for good, and return the receipt of what that was.",
                {"id": {**_TEXT, "description": "Id of the tenant."}},
                ["id"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[OPERATOR]),
            ),
            _tool(
                "resume_tenant",
                "Let a suspended tenant go on.",
                {"id": {**_TEXT, "description": "Id of the tenant."}},
                ["id"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[OPERATOR]),
            ),
            _tool(
                "suspend_tenant",
                "Suspend a tenant: its credentials are refused, and its calls, runs and servers end.",
                {"id": {**_TEXT, "description": "Id of the tenant."}},
                ["id"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[OPERATOR]),
            ),
            _tool(
                "verify_audit",
                "Check the tenant's audit chain from its first entry to its last, and that each call has one end.",
                {"tenant": {**_TEXT, "description": "For the operator: whose; else its own chain, of `_system`."}},
                [],
                ToolPolicy(side_effect="read", scopes=[TOOLS_READ], price=FREE),
            ),
            _tool(
                "withdraw_approvals",
                "Withdraw what a run that was cancelled still asks for.",
                {"tenant": _TEXT, "run": _TEXT, "principal": _TEXT},
                ["tenant", "run", "principal"],
                ToolPolicy(side_effect="write", idempotent=True, scopes=[SYSTEM], price=FREE),
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
