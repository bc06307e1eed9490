"""A tenant's approvals: calls that wait for a person."""

from __future__ import annotations

from typing import Any, Literal

from tausestack.client.agents import Tenant
from tausestack.raw import given


class Approvals:
    """The approvals of a tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def list(self, *, status: str | None = None) -> list[dict[str, Any]]:
        """Return approvals, or those of one status: pending, approved, rejected, used, withdrawn, expired."""
        found: dict[str, Any] = await self._tenant.wire.request(
            "GET", self._tenant.path("approvals"), query={"status": status}
        )
        return found["approvals"]

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
