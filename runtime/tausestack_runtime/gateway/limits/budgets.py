"""What language models may use in a month: reserved before a request to one, settled after it.

Both are one transaction each on the tenant's own database, so that nothing is lost with a process and several gateways
count as one. What was reserved and never settled stays counted: the request may have been made, and paid.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from tausestack.database import Connection, TenantDatabases
from tausestack.errors import NotFound
from tausestack.limits import exceeded, month, month_end, until_month_end
from tausestack_runtime.gateway.limits.allowances import KINDS, MONEY, Limits, shown
from tausestack_runtime.gateway.limits.limiter import Standing
from tausestack_runtime.gateway.tables import reservations, spending

TOKENS = "tokens_per_month"
KEPT = timedelta(days=45)
"""How long a reservation is remembered, at least, so that it is neither made nor settled twice."""


class Amount(NamedTuple):
    """Tokens, and millionths of a US dollar."""

    tokens: int
    cost: int


class Share(NamedTuple):
    """An agent, and what it may use of its tenant's month: each None where nobody says."""

    agent: str
    tokens: int | None = None
    cost: int | None = None


class Budgets:
    """The tenants' budgets; `now` is UTC."""

    def __init__(self, databases: TenantDatabases, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._databases = databases
        self._now = now

    async def reserve(
        self, tenant: str, identifier: str, wanted: Amount, limits: Limits, share: Share | None = None
    ) -> None:
        """Set an amount aside under an id, once, of the tenant's month and of an agent's in it.

        Raises `RateLimited` where either has no room for it.
        """
        now = self._now()
        async with self._databases.transaction(tenant) as db:
            if await db.scalar(sa.select(reservations.c.id).where(reservations.c.id == identifier)) is not None:
                return
            spent = await _spent(db, month(now))
            for name, used, more in zip((TOKENS, MONEY), spent, wanted, strict=True):
                most = limits.amounts.get(name)
                if most is not None and used + more > most:
                    raise exceeded(
                        name, KINDS[name].about, shown(name, most), shown(name, used),
                        asked=shown(name, more), retry_after=until_month_end(now),
                    )  # fmt: skip
            place = month(now)
            if share is not None:
                place = _place(month(now), share.agent)
                _check(share, await _spent(db, place), wanted, now)
            await _count(db, place, wanted)
            row = {"id": identifier, "month": place, "settled": False, "at": now.isoformat()}
            await db.execute(sa.insert(reservations).values(**row, **wanted._asdict()))
            await db.execute(sa.delete(reservations).where(reservations.c.month < month(now - KEPT)))

    async def settle(self, tenant: str, identifier: str, used: Amount) -> None:
        """Count what was used in place of what was set aside, once; raises `NotFound` where nothing was."""
        this = reservations.c.id == identifier
        async with self._databases.transaction(tenant) as db:
            row = await db.one(sa.select(reservations).where(this))
            if row is None:
                raise NotFound("Nothing was reserved under this id")
            if row.settled:
                return
            await _count(db, row.month, Amount(used.tokens - row.tokens, used.cost - row.cost))
            await db.execute(sa.update(reservations).where(this).values(settled=True, **used._asdict()))

    async def standings(self, tenant: str) -> dict[str, Standing]:
        """Return how this month's budgets stand."""
        now = self._now()
        async with self._databases.reading(tenant) as db:
            spent = await _spent(db, month(now))
        return {name: Standing(used, month_end(now)) for name, used in zip((TOKENS, MONEY), spent, strict=True)}


def _check(share: Share, spent: Amount, wanted: Amount, now: datetime) -> None:
    """Raise `RateLimited` where an agent's month has no room."""
    for name, used, more, most in zip((TOKENS, MONEY), spent, wanted, (share.tokens, share.cost), strict=True):
        if most is not None and used + more > most:
            raise exceeded(
                f"agent_{name}", f"{KINDS[name].about} of the agent {share.agent}", shown(name, most),
                shown(name, used), asked=shown(name, more), retry_after=until_month_end(now),
            )  # fmt: skip


def _place(in_month: str, agent: str) -> str:
    """Return what an agent's share of a month is kept under, beside the month itself."""
    return f"{in_month}/{agent}"


async def _count(db: Connection, place: str, more: Amount) -> None:
    """Add to an agent's share and to the month that it is of."""
    in_month, _, agent = place.partition("/")
    await _add(db, in_month, more)
    if agent:
        await _add(db, place, more)


async def _spent(db: Connection, in_month: str) -> Amount:
    row = await db.one(sa.select(spending.c.tokens, spending.c.cost).where(spending.c.month == in_month))
    return Amount(0, 0) if row is None else Amount(row.tokens, row.cost)


async def _add(db: Connection, in_month: str, more: Amount) -> None:
    raised = {"tokens": spending.c.tokens + more.tokens, "cost": spending.c.cost + more.cost}
    if not await db.change(sa.update(spending).where(spending.c.month == in_month).values(**raised)):
        await db.execute(sa.insert(spending).values(month=in_month, **more._asdict()))
