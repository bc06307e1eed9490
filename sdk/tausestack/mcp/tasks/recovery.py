"""Tasks whose process died: seen by its silence, taken over by one that lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import structlog

from tausestack.mcp.tasks.durable import DurableTasks, Sighting
from tausestack.mcp.tasks.record import Task, moment

if TYPE_CHECKING:
    from tausestack.mcp.tasks.engine import Tasks

_BEATS = 4
"""How often a process that runs tasks is heard of within the silence after which it counts as dead."""
_PURGE_BEATS = 40


class Recovery:
    """Keeps this process heard of while it runs tasks, and takes over those of the dead."""

    def __init__(self, tasks: Tasks, store: DurableTasks) -> None:
        self._tasks = tasks
        self._store = store
        self._silence_ms = tasks.limits.silence_ms
        self._tenants: set[str] = set()
        """The tenants that this process is known to run tasks of."""
        self._beginning: Counter[str] = Counter()
        self._known = anyio.Lock()
        self._taking = anyio.Lock()
        self._wanted = anyio.Event()
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("tasks")

    @asynccontextmanager
    async def enlisted(self, tenant: str) -> AsyncGenerator[None]:
        """Let it be known that this process runs tasks of a tenant, before it has the one that is begun within."""
        self._beginning[tenant] += 1
        try:
            async with self._known:
                if tenant not in self._tenants:
                    await self._store.began(self._tasks.process, tenant)
                    self._tenants.add(tenant)
            self._wanted.set()
            yield
        finally:
            self._beginning[tenant] -= 1
            if not self._beginning[tenant]:
                del self._beginning[tenant]

    async def leave(self) -> None:
        """Let go of what is unfinished, so that the next process need not wait for silence."""
        if not self._tenants:
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._store.dying(self._tasks.process)
            except Exception:  # noqa: BLE001 the process ends; its silence will tell the same
                self._log.warning("could not let go of tasks", exc_info=True)

    async def watch(self) -> None:
        """Beat while this process has tasks, look after others while they have some, else wait."""
        beats = 0
        while True:
            others = True
            try:
                others = await self._look_after_others()
                await self._hear()
                await self._beat()
                beats += 1
                if beats % _PURGE_BEATS == 0:
                    for tenant in sorted(self._tasks.live_tenants()):
                        await self._store.purge(tenant)
            except Exception:  # noqa: BLE001 a database that is away for a while ends nothing
                self._log.warning("tasks could not be looked after", exc_info=True)
            if not others and not self._tenants:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            await anyio.sleep(self._silence_ms / 1000 / _BEATS)

    async def rescue(self, task: Task) -> bool:
        """Take a task over where its process is dead; return whether it may be another's now."""
        own = task.process == self._tasks.process
        seen = [each for each in await self._store.sightings() if each.process == task.process]
        if not own and any(not self._silent(each) for each in seen):
            return False
        await self._take_over(task.owner.tenant, {task.process}, only=task.id)
        return True

    async def _look_after_others(self) -> bool:
        """Take over what the dead left; return whether any other process has tasks still."""
        others = [each for each in await self._store.sightings() if each.process != self._tasks.process]
        dead = [each for each in others if self._silent(each)]
        for tenant in sorted({each.tenant for each in dead}):
            of_tenant = {each.process for each in dead if each.tenant == tenant}
            await self._take_over(tenant, of_tenant)
            for process in sorted(of_tenant):
                await self._store.gone(process, [tenant])
        return len(others) > len(dead)

    async def _take_over(self, tenant: str, dead: set[str], only: str | None = None) -> None:
        async with self._taking, self.enlisted(tenant):
            live = list(self._tasks.live(tenant))
            for task in await self._store.take_over(tenant, self._tasks.process, dead, but=live, only=only):
                self._log.info("task taken over", tenant=tenant, task=task.id, tool=task.tool, runs=task.runs)
                self._tasks.start(task)

    async def _hear(self) -> None:
        """Take what other processes kept for tasks that run here: answers, and wishes to cancel."""
        for tenant in sorted(self._tasks.live_tenants()):
            for kept in await self._store.several(tenant, list(self._tasks.live(tenant))):
                run = self._tasks.live(tenant).get(kept.id)
                if run is None:
                    continue
                if kept.process != self._tasks.process:
                    run.lose()
                elif kept.cancelling:
                    run.cancel()
                else:
                    run.answer(kept.answers)

    async def _beat(self) -> None:
        async with self._known:
            done = self._tenants - self._tasks.live_tenants() - self._beginning.keys()
            if done:
                await self._store.gone(self._tasks.process, sorted(done))
                self._tenants -= done
            if self._tenants:
                await self._store.seen(self._tasks.process)

    def _silent(self, sighting: Sighting) -> bool:
        return sighting.seen_at <= moment(-self._silence_ms)
