"""The calls that run at this gateway, each ended within a second once its tenant is suspended or deleted."""

from __future__ import annotations

import asyncio

import structlog

from tausestack.errors import NotFound, TauseError, TenantSuspended
from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.snapshots import FRESH_SECONDS, Snapshots

logger = structlog.get_logger("gateway")


class Running:
    """The calls of all tenants; looked at now and then, while there are any."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._calls: dict[str, Call] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    def enter(self, call: Call) -> None:
        """Note a call that the current task runs."""
        if call.task is None:
            call.task = asyncio.current_task()
        self._calls[call.id] = call
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FRESH_SECONDS, self._look)

    def leave(self, call: Call) -> None:
        """Note that a call has ended."""
        del self._calls[call.id]

    def of(self, tenant: str) -> int:
        """Return how many calls of a tenant run."""
        return sum(call.tenant == tenant for call in self._calls.values())

    def end(self, tenant: str, why: TauseError) -> int:
        """End a tenant's calls, each with an error, and return how many there were."""
        ending = [call for call in self._calls.values() if call.tenant == tenant and call.stopped is None]
        for call in ending:
            assert call.task is not None
            call.stopped = why
            call.task.cancel()
        return len(ending)

    def _look(self) -> None:
        self._timer = None
        if self._calls:
            loop = asyncio.get_running_loop()
            if self._looking is None or self._looking.done():
                self._looking = loop.create_task(self._end_refused())
            self._timer = loop.call_later(FRESH_SECONDS, self._look)

    async def _end_refused(self) -> None:
        """End the calls of tenants whose next one would be refused."""
        for tenant in {call.tenant for call in self._calls.values()} - {SYSTEM_TENANT}:
            try:
                await self._snapshots.tenant(tenant)
            except (TenantSuspended, NotFound) as error:
                self.end(tenant, error)
                logger.info("a tenant's calls were ended", tenant=tenant, reason=error.code)
            except TauseError as error:
                logger.info("running calls can't be checked", error=error.message)


def uncancelled() -> bool:
    """Take one wish to cancel back from the current task, and return whether another one stands."""
    task = asyncio.current_task()
    return task is not None and task.uncancel() > 0
