"""Schedules: an agent run again and again, each tick once, for whoever made the schedule."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tausestack.contract import Principal
from tausestack.database import Connection, Row, TenantDatabases
from tausestack.errors import InDoubt, NotFound, TauseError, Unavailable
from tausestack_agents.cron import Cron
from tausestack_agents.gateway import GatewayClient
from tausestack_agents.tables import schedules

KIND = "schedule"
"""What its timers are called, and whom runs say that they act by."""
MAX_SCHEDULES = 200
AGAIN_SECONDS = 5.0
"""When a tick is tried again that the gateway could not be asked for."""


class Scheduler:
    """Starts the runs of ticks: each is a call of `agents/run` through the gateway, under a key of that tick.

    So it has a line in the ledger, counts among the tenant's limits, and happens once whoever asks for it how often.
    """

    def __init__(
        self, databases: TenantDatabases, gateway: GatewayClient, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._databases = databases
        self._gateway = gateway
        self._clock = clock

    async def look(self, tenant: str, name: str) -> float | None:
        """Run a schedule's tick where one is due; return when the next one is. Raises `LookupError` without it."""
        async with self._databases.reading(tenant) as db:
            row = await db.one(sa.select(schedules).where(schedules.c.name == name))
        if row is None:
            raise LookupError(name)
        if not row.enabled or row.next_at is None:
            return None
        now, tick = datetime.fromtimestamp(self._clock(), UTC), datetime.fromisoformat(row.next_at)
        if tick > now:
            return tick.timestamp()
        cron = Cron(row.cron, row.timezone)
        due = cron.due(tick, now, row.missed)
        try:
            values = {} if due is None else {"last_at": due.isoformat(), **await self._started(tenant, row, due)}
        except (Unavailable, InDoubt):
            return self._clock() + AGAIN_SECONDS
        async with self._databases.transaction(tenant) as db:
            current = await db.one(sa.select(schedules).where(schedules.c.name == name))
            if current is None or current.next_at != row.next_at:
                return self._clock()  # it was changed meanwhile, or another worker was first: that stands
            # A tick that was due stays so when its schedule is changed: what comes next goes by what it is now.
            upcoming = Cron(current.cron, current.timezone).next(now)
            same = sa.update(schedules).where(schedules.c.name == name)
            await db.execute(same.values(next_at=upcoming.isoformat(), **values))
        return upcoming.timestamp()

    async def _started(self, tenant: str, row: Row, tick: datetime) -> dict[str, Any]:
        """Start a tick's run as whoever made the schedule; return what is noted of it."""
        maker = Principal(tenant, row.principal, frozenset(row.scopes), agent=KIND, run=f"{KIND}:{row.name}")
        given: dict[str, Any] = {"agent": row.agent, "input": row.input}
        if row.thread is not None:
            given["thread"] = row.thread
        key = f"{KIND}:{row.name}:{row.created_at}:{tick.isoformat()}"
        try:
            token, *_ = await self._gateway.delegate(maker, maker.scopes)
            run = await self._gateway.structured(tenant, "agents", "run", given, credential=token, key=key)
        except (Unavailable, InDoubt):
            raise
        except TauseError as error:
            return {"last_run": None, "last_error": {"code": error.code, "message": error.message}}
        return {"last_run": run["id"], "last_error": None}


def upcoming(known: Row | None, cron: Cron, now: datetime) -> datetime:
    """Return when a schedule that is saved ticks next: a tick that is due, and was not looked at yet, stays due."""
    if known is not None and known.enabled and known.next_at is not None:
        due = datetime.fromisoformat(known.next_at)
        if due <= now:
            return due
    return cron.next(now)


async def find(db: Connection, name: str) -> Row:
    """Return a schedule, or raise `NotFound`."""
    row = await db.one(sa.select(schedules).where(schedules.c.name == name))
    if row is None:
        raise NotFound("There is no such schedule, or it is not yours")
    return row


async def listed(db: Connection) -> list[Row]:
    """Return all schedules by name."""
    return await db.execute(sa.select(schedules).order_by(schedules.c.name))


async def delete(db: Connection, name: str) -> None:
    """Delete a schedule, or raise `NotFound`; the runs that it started stay."""
    if not await db.change(sa.delete(schedules).where(schedules.c.name == name)):
        raise NotFound("There is no such schedule, or it is not yours")


def shape(row: Row) -> dict[str, Any]:
    """Return a schedule as the doors show it."""
    return {str(column.name): getattr(row, column.name) for column in schedules.c if column.name != "scopes"}
