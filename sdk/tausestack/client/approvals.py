"""A tenant's approvals: calls that wait for a person."""

from __future__ import annotations

from typing import Any, Literal

from tausestack.client.agents import Tenant
from tausestack.raw import given

PAGE = 500
"""How many approvals a page has at most."""


class Approvals:
    """The approvals of a tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def list(self, *, status: str | None = None, limit: int = 200) -> list[dict[str, Any]]:
        """Return the newest approvals, all or pending, approved, rejected, used, withdrawn or expired ones."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            query = {"status": status, "limit": min(limit - len(found), PAGE), "cursor": cursor}
            page: dict[str, Any] = await self._tenant.wire.request("GET", self._tenant.path("approvals"), query=query)
            found += page["approvals"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return found

    async def decide(
        self,
        approval: str,
        decision: Literal["approve", "reject"],
        *,
        reason: str | None = None,
        arguments: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Approve or reject a waiting call; `arguments` replace those that were asked for. Returns the approval."""
        return await self._tenant.wire.request(
            "POST",
            self._tenant.path("approvals", approval),
            body=given({"decision": decision, "reason": reason, "arguments": arguments}),
            repeatable=self._tenant.may_repeat("platform/decide_approval"),
        )
