"""The dispatch table: which runs of which tenants are due, and who works on them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from tausestack.database import Connection, TenantDatabases, Work
from tausestack.names import SYSTEM_TENANT
from tausestack_agents.failpoints import passing
from tausestack_agents.machine import alive, machine, started
from tausestack_agents.tables import dispatch

LEASE_SECONDS = 15.0
"""How long a worker that has gone silent keeps its runs."""
TENANT_RUNS = 8
"""How many runs of one tenant are worked on at once, by all workers together."""
SHORT_SECONDS = 0.002
"""Of CPU; looking for what is due takes longer where thousands of runs are."""
RUN = "run"
CHANNEL = "tausestack_agents"
"""Where PostgreSQL tells every worker that there is work, or (`tenant/run`) that a run was cut off."""
EVERY = "*"
"""Stands for all runs of a tenant where they are cut off."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Due:
    """Work that this process has claimed; `created` is in seconds since the epoch."""

    tenant: str
    run: str
    wakes: int
    created: float
    owner: str
    """This very claim: the same process may lose a run, and claim it again."""
    deaths: int = 0
    """How often the process died that the run had to itself."""


class Dispatch:
    """The table, as one worker process uses it; its times are the database's, lest two machines' clocks disagree."""

    def __init__(
        self,
        databases: TenantDatabases,
        *,
        lease: float = LEASE_SECONDS,
        tenant_runs: int = TENANT_RUNS,
        host: str | None = None,
    ) -> None:
        """`host` is what this machine is known by; None: what the kernel says."""
        self._databases = databases
        self.lease = lease
        self._tenant_runs = tenant_runs
        self._is_short = False
        self._machine = host or machine()
        self._process = f"{self._machine}:{os.getpid()}:{started(os.getpid())}"

    @classmethod
    def of(cls, databases: TenantDatabases, environ: Mapping[str, str]) -> Dispatch:
        """Return the table as the stack's operator wants it used."""
        return cls(
            databases,
            lease=float(environ.get("TAUSESTACK_LEASE_SECONDS") or LEASE_SECONDS),
            tenant_runs=int(environ.get("TAUSESTACK_TENANT_RUNS") or TENANT_RUNS),
            host=environ.get("TAUSESTACK_MACHINE") or None,
        )

    async def add(self, tenant: str, run: str, *, after: float = 0.0) -> None:
        """Make a run due in some seconds; one that is being worked on is looked at again afterwards."""

        async def work(db: Connection) -> None:
            now = await _now(db)
            if not await db.change(_WAKE, {"of_tenant": tenant, "of_run": run, "then": now + after}):
                fresh = {"for_tenant": tenant, "kind": RUN, "id": run, "due": now + after, "created": now}
                await db.execute(sa.insert(dispatch).values(**fresh, wakes=1, lease_until=0, owner=""))
            await _tell(db)

        await self._databases.write(SYSTEM_TENANT, work, short=True)

    async def cut(self, tenant: str, run: str) -> None:
        """Have whichever worker is at a run let go of it at once; its fence keeps it from writing in any case."""

        if self._databases.in_files:
            return  # every worker is in this process
        told = sa.select(sa.func.pg_notify(CHANNEL, f"{tenant}/{run}"))
        await self._databases.write(SYSTEM_TENANT, lambda db: db.execute(told))

    async def strike(self, tenant: str) -> None:
        """Strike all work of a tenant off, and have every worker let go of it."""
        of_tenant = sa.delete(dispatch).where(dispatch.c.for_tenant == tenant)
        await self._databases.write(SYSTEM_TENANT, lambda db: db.change(of_tenant))
        await self.cut(tenant, EVERY)

    async def claim(self, most: int) -> list[Due]:
        """Claim due runs that nobody holds: of each tenant as many as it may have, the tenants in turn.

        All workers' claims stand in line, so that what a tenant has under way is counted and added to in one.
        """

        async def work(db: Connection) -> list[Due]:
            now = await _now(db)
            claimed: list[Due] = []
            for row in await db.execute(_FREE, {"now": now, "tenant_runs": self._tenant_runs, "most": most}):
                owner = f"{self._process}:{secrets.token_hex(4)}"
                claimed.append(Due(row.for_tenant, row.id, row.wakes, row.created, owner, row.deaths))
            if claimed:
                until = now + self.lease
                taken = [{"of_tenant": d.tenant, "of_run": d.run, "by": d.owner, "until": until} for d in claimed]
                await db.execute(_TAKE, taken)
            return claimed

        passing("claim.before")
        claimed = await self._databases.write(SYSTEM_TENANT, self._timed(work), short=self._is_short)
        if claimed:
            passing("claim.between")
        return claimed

    async def renew(self, held: Sequence[Due]) -> list[Due]:
        """Hold runs for another lease; return those that were lost."""

        async def work(db: Connection) -> list[Due]:
            until = await _now(db) + self.lease
            return [due for due in held if not await db.change(_claimed(due).values(lease_until=until))]

        return await self._databases.write(SYSTEM_TENANT, work)

    async def done(self, due: Due) -> None:
        """Strike a run off, unless it was woken since it was claimed: then it is due again."""

        async def work(db: Connection) -> None:
            mine = {"of_tenant": due.tenant, "of_run": due.run, "by": due.owner, "as_woken": due.wakes}
            if not await db.change(_STRIKE, mine):
                await db.change(_claimed(due).values(lease_until=0, owner=""))
            await _tell(db)

        passing("strike.before")
        await self._databases.write(SYSTEM_TENANT, work, short=True)
        passing("strike.after")

    async def postpone(self, due: Due, seconds: float) -> None:
        """Give a run back, due again later."""

        async def work(db: Connection) -> None:
            later = await _now(db) + seconds
            await db.change(_claimed(due).values(lease_until=0, owner="", due=later))
            await _tell(db)

        await self._databases.write(SYSTEM_TENANT, work, short=True)

    async def died(self, due: Due, at: int) -> tuple[int, int]:
        """Count a death of the process that a run had to itself, `at` so many calls of it that had ended.

        Returns how many there were at that very place in a row, and in all.
        """

        async def work(db: Connection) -> tuple[int, int]:
            row = await db.one(sa.select(dispatch).where(*_this(due.tenant, due.run)))
            if row is None:
                return 0, 0
            here, deaths = (row.deaths_here + 1 if row.died_at == at else 1), row.deaths + 1
            await db.change(_claimed(due).values(deaths=deaths, deaths_here=here, died_at=at))
            return here, deaths

        return await self._databases.write(SYSTEM_TENANT, work)

    async def free_the_dead(self) -> int:
        """End the leases of this machine's processes that are no more, and return how many there were."""

        async def work(db: Connection) -> int:
            rows = await db.execute(sa.select(dispatch.c.owner).where(dispatch.c.owner != "").distinct())
            here = f"{self._machine}:"
            dead = [row.owner for row in rows if row.owner.startswith(here) and not _lives(row.owner)]
            freed = sa.update(dispatch).where(dispatch.c.owner.in_(dead)).values(lease_until=0, owner="")
            return await db.change(freed) if dead else 0

        return await self._databases.write(SYSTEM_TENANT, work)

    async def next_due(self) -> float | None:
        """Return in how many seconds there is a run to claim, None for never: those of a tenant at its bound wait."""

        async def work(db: Connection) -> float | None:
            now = await _now(db)
            if (await db.one(_FREE, {"now": now, "tenant_runs": self._tenant_runs, "most": 1})) is not None:
                return 0.0
            first = await db.scalar(_NEXT, {"now": now})
            return None if first is None else max(0.0, first - now)

        return await self._databases.read(SYSTEM_TENANT, self._timed(work), short=self._is_short)

    def _timed(self, work: Work[_T]) -> Work[_T]:
        """Return work that looks at all that is due, noting if that is little enough to be short the next time."""

        async def timed(db: Connection) -> _T:
            begun = time.thread_time()
            try:
                return await work(db)
            finally:
                self._is_short = time.thread_time() - begun < SHORT_SECONDS

        return timed


def _claimed(due: Due) -> sa.Update:
    return sa.update(dispatch).where(*_this(due.tenant, due.run), dispatch.c.owner == due.owner)


def _free() -> sa.Select[*tuple[Any, ...]]:
    """Select what may be claimed: a tenant's longest due first, and every tenant's first before any one's second."""
    now = sa.bindparam("now", type_=sa.Float)
    held = (
        sa.select(dispatch.c.for_tenant, sa.func.count().label("runs"))
        .where(dispatch.c.lease_until >= now)
        .group_by(dispatch.c.for_tenant)
        .cte()
    )
    line = sa.func.row_number().over(partition_by=dispatch.c.for_tenant, order_by=dispatch.c.due).label("line")
    due = (
        sa.select(dispatch, line)
        .where(dispatch.c.due <= now, dispatch.c.lease_until < now, dispatch.c.kind == RUN)
        .cte()
    )
    room = due.c.line + sa.func.coalesce(held.c.runs, 0) <= sa.bindparam("tenant_runs", type_=sa.Integer)
    joined = due.outerjoin(held, due.c.for_tenant == held.c.for_tenant)
    found = sa.select(due).select_from(joined).where(room).order_by(due.c.line, due.c.due)
    return found.limit(sa.bindparam("most", type_=sa.Integer))


_OF = (
    dispatch.c.for_tenant == sa.bindparam("of_tenant"),
    dispatch.c.kind == RUN,
    dispatch.c.id == sa.bindparam("of_run"),
)
# Made once: to build one of these costs more than to run it.
_FREE = _free()
_FREE_AT = sa.case((dispatch.c.due > dispatch.c.lease_until, dispatch.c.due), else_=dispatch.c.lease_until)
_NEXT = sa.select(sa.func.min(_FREE_AT)).where(sa.bindparam("now", type_=sa.Float) < _FREE_AT)
_TAKE = sa.update(dispatch).where(*_OF).values(owner=sa.bindparam("by"), lease_until=sa.bindparam("until"))
_THEN = sa.bindparam("then", type_=sa.Float)
_WAKE = (
    sa.update(dispatch)
    .where(*_OF)
    .values(wakes=dispatch.c.wakes + 1, due=sa.case((dispatch.c.due < _THEN, dispatch.c.due), else_=_THEN))
)
_STRIKE = sa.delete(dispatch).where(
    *_OF, dispatch.c.owner == sa.bindparam("by"), dispatch.c.wakes == sa.bindparam("as_woken")
)


async def _now(db: Connection) -> float:
    """Return the time in seconds since the epoch, by the clock that all workers share."""
    if db.dialect == "sqlite":
        return time.time()
    return float(await db.scalar(_CLOCK))


_CLOCK = sa.select(sa.extract("epoch", sa.func.clock_timestamp()))
_TELL = sa.select(sa.func.pg_notify(CHANNEL, ""))


async def _tell(db: Connection) -> None:
    """Tell every worker that there may be work; on SQLite they are all in this process."""
    if db.dialect != "sqlite":
        await db.execute(_TELL)


def _this(tenant: str, run: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (dispatch.c.for_tenant == tenant, dispatch.c.kind == RUN, dispatch.c.id == run)


def _lives(owner: str) -> bool:
    _, pid, born, _ = owner.rsplit(":", 3)
    return alive(int(pid), born)
