"""A tenant's schedules: agents that are run again and again."""

from __future__ import annotations

from typing import Any, Literal

from tausestack.client.agents import Tenant
from tausestack.raw import given


class Schedules:
    """The schedules of a tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def list(self) -> list[dict[str, Any]]:
        """Return all schedules by name."""
        found: dict[str, Any] = await self._tenant.wire.request("GET", self._tenant.path("schedules"))
        return found["schedules"]

    async def get(self, name: str) -> dict[str, Any]:
        """Return a schedule: when it ticks next, and what came of its last tick."""
        return await self._tenant.wire.request("GET", self._tenant.path("schedules", name))

    async def save(
        self,
        name: str,
        *,
        agent: str | None = None,
        input: str | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        thread: str | None = None,
        missed: Literal["once", "skip"] | None = None,
        enabled: bool | None = None,
    ) -> dict[str, Any]:
        """Make a schedule, or change what is given of it, and return it."""
        fields = {"agent": agent, "input": input, "cron": cron, "timezone": timezone, "thread": thread}
        body = given({"name": name, **fields, "missed": missed, "enabled": enabled})
        return await self._tenant.wire.request(
            "POST",
            self._tenant.path("schedules"),
            body=body,
            repeatable=self._tenant.may_repeat("agents/save_schedule"),
        )

    async def delete(self, name: str) -> dict[str, Any]:
        """Delete a schedule; the runs that it started stay."""
        return await self._tenant.wire.request(
            "DELETE", self._tenant.path("schedules", name), headers=self._tenant.key(None)
        )
