"""Tasks in the tenant's own database, and which process runs whose, in `_system`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from tausestack.database import Connection, TenantDatabases
from tausestack.database.connection import Row
from tausestack.database.tasks import PROCESSES, TASKS
from tausestack.mcp.tasks.record import Owner, Task, TaskLimits, moment
from tausestack.mcp.tasks.store import check_room, stands_for
from tausestack.names import SYSTEM_TENANT

_FIELDS = [column.name for column in TASKS.columns if column.name != "principal"]


class Sighting(NamedTuple):
    """When a process that runs tasks of a tenant was last seen alive."""

    process: str
    tenant: str
    seen_at: str


class DurableTasks:
    """Keeps tasks where their effects are kept."""

    def __init__(self, databases: TenantDatabases) -> None:
        self._databases = databases
        self._processes_kept = False
        """Whether there is anything of `_system` yet: looking for others is no reason to make it."""

    async def create(self, task: Task, limits: TaskLimits) -> Task:
        """Keep a new task, or return the one that the same call made before."""
        async with self._databases.transaction(task.owner.tenant) as db:
            await _purge(db)
            if task.key is not None:
                same = (TASKS.c.tool == task.tool, TASKS.c.key == task.key)
                found = await db.one(sa.select(TASKS).where(*same))
                if found is not None:
                    kept = _task(task.owner.tenant, found)
                    if stands_for(kept, task):
                        return kept
                    await db.change(sa.update(TASKS).where(*same).values(key=None))
            unfinished = sa.func.count().filter(TASKS.c.ending.is_(None))
            room = await db.one(sa.select(sa.func.count(), unfinished).select_from(TASKS))
            assert room is not None
            check_room(room[0], room[1], limits)
            await db.execute(sa.insert(TASKS).values(_values(task)))
        return task

    async def find(self, tenant: str, task: str) -> Task | None:
        """Return a task, None where there is none or its time is over."""
        async with self._databases.reading(tenant) as db:
            found = await db.one(sa.select(TASKS).where(TASKS.c.id == task, TASKS.c.expires_at > moment()))
        return None if found is None else _task(tenant, found)

    async def save(self, task: Task) -> bool:
        """Keep how far a task is, unless it has ended or another process has taken it over."""
        values = _values(task)
        del values["id"], values["runs"]
        if task.ending is None:
            # Another process may have kept these meanwhile.
            del values["answers"], values["cancelling"]
        held = (TASKS.c.id == task.id, TASKS.c.process == task.process, TASKS.c.ending.is_(None))
        async with self._databases.transaction(task.owner.tenant) as db:
            return await db.change(sa.update(TASKS).where(*held).values(values)) == 1

    async def answer(self, tenant: str, task: str, answers: dict[str, dict[str, Any]]) -> None:
        """Keep answers to requests for input."""
        unfinished = (TASKS.c.id == task, TASKS.c.ending.is_(None))
        async with self._databases.transaction(tenant) as db:
            kept = await db.scalar(sa.select(TASKS.c.answers).where(*unfinished))
            if kept is not None:
                merged = {"answers": {**answers, **kept}, "updated_at": moment()}
                await db.change(sa.update(TASKS).where(*unfinished).values(merged))

    async def cancel(self, tenant: str, task: str) -> None:
        """Keep the wish that a task be cancelled."""
        unfinished = (TASKS.c.id == task, TASKS.c.ending.is_(None))
        async with self._databases.transaction(tenant) as db:
            await db.change(sa.update(TASKS).where(*unfinished).values(cancelling=True))

    async def purge(self, tenant: str) -> None:
        """Forget the tasks whose time is over."""
        async with self._databases.transaction(tenant) as db:
            await _purge(db)

    async def several(self, tenant: str, tasks: Iterable[str]) -> list[Task]:
        """Return tasks of a tenant as they are kept."""
        async with self._databases.reading(tenant) as db:
            return [_task(tenant, row) for row in await db.execute(sa.select(TASKS).where(TASKS.c.id.in_(tasks)))]

    async def take_over(
        self, tenant: str, process: str, dead: Collection[str], *, but: Collection[str], only: str | None
    ) -> list[Task]:  # fmt: skip
        """Give a process the unfinished tasks of dead ones (or `only` one), each to one taker alone; return them."""
        left: list[sa.ColumnElement[bool]] = [
            TASKS.c.process.in_(dead),
            TASKS.c.ending.is_(None),
            TASKS.c.id.not_in(but),
        ]
        if only is not None:
            left.append(TASKS.c.id == only)
        async with self._databases.transaction(tenant) as db:
            ids = [row.id for row in await db.execute(sa.select(TASKS.c.id).where(*left))]
            taken = TASKS.c.id.in_(ids)
            await db.change(sa.update(TASKS).where(taken).values(process=process, runs=TASKS.c.runs + 1))
            return [_task(tenant, row) for row in await db.execute(sa.select(TASKS).where(taken))]

    async def sightings(self) -> list[Sighting]:
        """Return the processes that have unfinished tasks, or had some when they were last seen."""
        self._processes_kept = self._processes_kept or await self._databases.exists(SYSTEM_TENANT)
        if not self._processes_kept:
            return []
        async with self._databases.reading(SYSTEM_TENANT) as db:
            return [Sighting(*row) for row in await db.execute(sa.select(PROCESSES))]

    async def began(self, process: str, tenant: str) -> None:
        """Keep that a process runs tasks of a tenant from now on."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            await db.execute(sa.insert(PROCESSES).values(process=process, of_tenant=tenant, seen_at=moment()))

    async def seen(self, process: str) -> None:
        """Keep that a process is alive."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            own = PROCESSES.c.process == process
            await db.change(sa.update(PROCESSES).where(own).values(seen_at=moment()))

    async def gone(self, process: str, tenants: Collection[str]) -> None:
        """Forget that a process ran tasks of tenants."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            own = (PROCESSES.c.process == process, PROCESSES.c.of_tenant.in_(tenants))
            await db.change(sa.delete(PROCESSES).where(*own))

    async def dying(self, process: str) -> None:
        """Keep that a process is as good as dead: what it leaves unfinished may be taken over at once."""
        async with self._databases.transaction(SYSTEM_TENANT) as db:
            await db.change(sa.update(PROCESSES).where(PROCESSES.c.process == process).values(seen_at=""))


async def _purge(db: Connection) -> None:
    await db.change(sa.delete(TASKS).where(TASKS.c.expires_at <= moment()))


def _values(task: Task) -> dict[str, Any]:
    return {"principal": task.owner.principal, **{name: getattr(task, name) for name in _FIELDS}}


def _task(tenant: str, row: Row) -> Task:
    kept = dict(zip(TASKS.columns.keys(), row, strict=True))
    return Task(owner=Owner(tenant, kept.pop("principal")), **kept)
