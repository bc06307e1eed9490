"""What is to be looked at when its time has come: schedules' ticks, approvals that expire. Any worker may look."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import sqlalchemy as sa
import structlog

from tausestack.database import Row, TenantDatabases
from tausestack.names import SYSTEM_TENANT
from tausestack_agents.tables import timers

logger = structlog.get_logger("agents")

LOOK_SECONDS = 2.0
"""How often the table is looked at: another process may have set a timer."""
LEASE_SECONDS = 30.0
"""How long whoever took a timer has for it, before another one looks too."""
AGAIN_SECONDS = 5.0
"""When to look again after looking failed."""
ORPHAN_SECONDS = 60.0
"""For how long what a timer is about may not be written yet."""
MOST = 20

Look = Callable[[str, str], Awaitable[float | None]]
"""Looks at something of a tenant by its id; returns when to look again (seconds since the epoch), None for never.

Two workers may look at the same time. Raises `LookupError` where there is no such thing (yet).
"""


class Timers:
    """The table, and what is done about each kind."""

    def __init__(self, databases: TenantDatabases, *, clock: Callable[[], float] = time.time) -> None:
        self._databases = databases
        self._clock = clock
        self._news = anyio.Event()

    async def set(self, tenant: str, kind: str, identifier: str, due: float) -> None:
        """Have something looked at, at a time in seconds since the epoch, in place of what was set before."""
        this = _this(tenant, kind, identifier)
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            if not await db.change(sa.update(timers).where(*this).values(due=due, lease_until=0)):
                await db.execute(
                    sa.insert(timers).values(
                        for_tenant=tenant, kind=kind, id=identifier, due=due, lease_until=0, created=self._clock()
                    )
                )
        self._news.set()

    async def drop(self, tenant: str, kind: str, identifier: str) -> None:
        """Have it looked at no more."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            await db.execute(sa.delete(timers).where(*_this(tenant, kind, identifier)))

    async def strike(self, tenant: str) -> None:
        """Strike all timers of a tenant off."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            await db.execute(sa.delete(timers).where(timers.c.for_tenant == tenant))

    async def look(self, looks: Mapping[str, Look]) -> float:
        """Look at everything that is due, and return in how many seconds the next one is, at most `LOOK_SECONDS`."""
        for row in await self._taken():
            try:
                again = await looks[row.kind](row.for_tenant, row.id)
            except LookupError:
                again = self._clock() + 1 if self._clock() - row.created < ORPHAN_SECONDS else None
            except Exception:
                # One tenant's trouble is not the others'.
                logger.exception("a timer could not be looked at", tenant=row.for_tenant, kind=row.kind)
                again = self._clock() + AGAIN_SECONDS
            await self._looked(row, again)
        async with self._databases.reading(SYSTEM_TENANT) as db:
            first = await db.scalar(sa.select(sa.func.min(timers.c.due)))
        return LOOK_SECONDS if first is None else min(max(first - self._clock(), 0.05), LOOK_SECONDS)

    async def keep_looking(self, looks: Mapping[str, Look]) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._news = anyio.Event()
            pause = LOOK_SECONDS
            try:
                pause = await self.look(looks)
            except Exception:
                # A database that is busy or away now may be back at the next look.
                logger.exception("timers could not be looked up")
            with anyio.move_on_after(pause):
                await self._news.wait()

    async def _taken(self) -> list[Row]:
        now = self._clock()
        free = (timers.c.due <= now, timers.c.lease_until < now)
        taken: list[Row] = []
        async with self._databases.reading(SYSTEM_TENANT) as db:
            rows = await db.execute(sa.select(timers).where(*free).order_by(timers.c.due).limit(MOST))
        for row in rows:
            async with self._databases.transaction(SYSTEM_TENANT) as db:
                mine = sa.update(timers).where(*_this(row.for_tenant, row.kind, row.id), *free)
                if await db.change(mine.values(lease_until=now + LEASE_SECONDS)):
                    taken.append(row)
        return taken

    async def _looked(self, row: Row, again: float | None) -> None:
        """Set when to look next, unless it was set anew meanwhile."""
        same = (*_this(row.for_tenant, row.kind, row.id), timers.c.due == row.due)
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            if again is None:
                await db.execute(sa.delete(timers).where(*same))
            else:
                await db.execute(sa.update(timers).where(*same).values(due=again, lease_until=0))


@asynccontextmanager
async def looking(timers: Timers, looks: Mapping[str, Look]) -> AsyncGenerator[None]:
    """Let timers be looked at for as long as the process serves."""
    async with anyio.create_task_group() as group:
        group.start_soon(timers.keep_looking, looks)
        yield
        group.cancel_scope.cancel()


def _this(tenant: str, kind: str, identifier: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (timers.c.for_tenant == tenant, timers.c.kind == kind, timers.c.id == identifier)
