"""The dispatch table: which runs of which tenants are due, and who works on them."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tausestack.database import TenantDatabases
from tausestack.names import SYSTEM_TENANT
from tausestack_agents.tables import dispatch

LEASE_SECONDS = 15.0
RUN = "run"


@dataclass(frozen=True, slots=True)
class Due:
    """Work that this process has claimed; `created` is in seconds since the epoch."""

    tenant: str
    run: str
    wakes: int
    created: float


class Dispatch:
    """The table, as one worker process uses it."""

    def __init__(self, databases: TenantDatabases) -> None:
        self._databases = databases
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"

    async def add(self, tenant: str, run: str) -> None:
        """Make a run due now; one that is being worked on is looked at again afterwards."""
        now = time.time()
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            changed = await db.change(
                sa.update(dispatch).where(*_this(tenant, run)).values(wakes=dispatch.c.wakes + 1, due=now)
            )
            if not changed:
                await db.execute(
                    sa.insert(dispatch).values(
                        for_tenant=tenant, kind=RUN, id=run, due=now, created=now, wakes=1, lease_until=0, owner=""
                    )
                )

    async def strike(self, tenant: str) -> None:
        """Strike all work of a tenant off."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            await db.execute(sa.delete(dispatch).where(dispatch.c.for_tenant == tenant))

    async def claim(self, most: int) -> list[Due]:
        """Claim due runs that nobody holds, the longest due first."""
        now = time.time()
        free = sa.and_(dispatch.c.due <= now, dispatch.c.lease_until < now, dispatch.c.kind == RUN)
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            rows = await db.execute(sa.select(dispatch).where(free).order_by(dispatch.c.due).limit(most))
            claimed: list[Due] = []
            for row in rows:
                taken = await db.change(
                    sa.update(dispatch)
                    .where(*_this(row.for_tenant, row.id), dispatch.c.lease_until < now)
                    .values(owner=self.owner, lease_until=now + LEASE_SECONDS)
                )
                if taken:
                    claimed.append(Due(row.for_tenant, row.id, row.wakes, row.created))
        return claimed

    async def renew(self, due: Due) -> bool:
        """Hold a run for another lease; False where it was lost."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            return bool(
                await db.change(
                    sa.update(dispatch)
                    .where(*_this(due.tenant, due.run), dispatch.c.owner == self.owner)
                    .values(lease_until=time.time() + LEASE_SECONDS)
                )
            )

    async def done(self, due: Due) -> None:
        """Strike a run off, unless it was woken since it was claimed: then it is due again."""
        mine = (*_this(due.tenant, due.run), dispatch.c.owner == self.owner)
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            if not await db.change(sa.delete(dispatch).where(*mine, dispatch.c.wakes == due.wakes)):
                await db.execute(sa.update(dispatch).where(*mine).values(lease_until=0, owner=""))

    async def postpone(self, due: Due, seconds: float) -> None:
        """Give a run back, due again later."""
        mine = (*_this(due.tenant, due.run), dispatch.c.owner == self.owner)
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            await db.execute(
                sa.update(dispatch).where(*mine).values(lease_until=0, owner="", due=time.time() + seconds)
            )

    async def free_the_dead(self) -> int:
        """End the leases of this machine's processes that are no more, and return how many there were."""
        host = socket.gethostname()
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            rows = await db.execute(sa.select(dispatch.c.owner).where(dispatch.c.owner != "").distinct())
            dead = [row.owner for row in rows if row.owner.startswith(f"{host}:") and not _alive(row.owner)]
            if not dead:
                return 0
            return await db.change(
                sa.update(dispatch).where(dispatch.c.owner.in_(dead)).values(lease_until=0, owner="")
            )

    async def next_due(self) -> float | None:
        """Return in how many seconds the next run is due that nobody holds, or None."""
        async with self._databases.reading(SYSTEM_TENANT) as db:
            first = await db.scalar(
                sa.select(
                    sa.func.min(
                        sa.case((dispatch.c.due > dispatch.c.lease_until, dispatch.c.due), else_=dispatch.c.lease_until)
                    )
                )
            )
        return None if first is None else max(0.0, first - time.time())


def _this(tenant: str, run: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (dispatch.c.for_tenant == tenant, dispatch.c.kind == RUN, dispatch.c.id == run)


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks: with its id, a name that is never used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "unknown"


def _alive(owner: str) -> bool:
    _, pid, started, _ = owner.rsplit(":", 3)
    if started == "unknown":
        return True
    return _started(int(pid)) == started
