"""A tenant's threads: the conversations that runs go on with."""

from __future__ import annotations

from typing import Any

from tausestack.client.agents import Tenant


class Threads:
    """The threads of a tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def list(self, *, limit: int | None = None, before: str | None = None) -> list[dict[str, Any]]:
        """Return threads, the one with the newest turn first; `before` is the last `updated_at` of the page before."""
        query = {"limit": limit, "before": before}
        found: dict[str, Any] = await self._tenant.wire.request("GET", self._tenant.path("threads"), query=query)
        return found["threads"]

    async def get(self, thread: str, *, limit: int | None = None, before: str | None = None) -> dict[str, Any]:
        """Return a thread with its newest turns in order, and the summary of earlier ones where there is one."""
        query = {"limit": limit, "before": before}
        return await self._tenant.wire.request("GET", self._tenant.path("threads", thread), query=query)

    async def delete(self, thread: str) -> dict[str, Any]:
        """Delete a thread with its runs, for good; raises `Conflict` while one of them goes on."""
        return await self._tenant.wire.request(
            "DELETE", self._tenant.path("threads", thread), headers=self._tenant.key(None)
        )

    async def prune(self, days: float) -> dict[str, Any]:
        """Delete the threads that have been idle for so many days, and return how many `threads` and `runs`."""
        return await self._tenant.wire.request(
            "POST",
            self._tenant.path("threads", "prune"),
            body={"days": days},
            repeatable=self._tenant.may_repeat("agents/prune_threads"),
        )
