"""The platform's tools with which the operator suspends, resumes and deletes tenants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tausestack.errors import InvalidArguments
from tausestack.names import check_tenant
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.life.life import TenantLife

PlatformTool = Callable[[Call], Awaitable[dict[str, Any]]]


def tools(life: TenantLife) -> dict[str, PlatformTool]:
    """Return what runs the tools, by name; each takes the id of the tenant."""
    return {
        "suspend_tenant": _taking_id(life.suspend),
        "resume_tenant": _taking_id(life.resume),
        "delete_tenant": _taking_id(life.delete),
    }


def _taking_id(change: Callable[[str], Awaitable[dict[str, Any]]]) -> PlatformTool:
    async def tool(call: Call) -> dict[str, Any]:
        tenant = call.arguments.get("id")
        if not isinstance(tenant, str):
            raise InvalidArguments("id is missing: it names the tenant")
        return await change(check_tenant(tenant))

    return tool
