"""The worker of the agents process: it claims due runs, holds them by a lease, and lets go of what it loses."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from tausestack_agents.dispatch import Dispatch, Due
from tausestack_agents.execution import Absent, Executor

logger = structlog.get_logger("agents")

CONCURRENT_RUNS = 8
HEARTBEAT_SECONDS = 5.0
POLL_SECONDS = 2.0
"""How often work is looked for that another process left; work of this process is taken up at once."""
GRACE_SECONDS = 5.0
"""How long runs may go on when the process is told to stop; what is cut off is taken up by the next one."""
SOON_SECONDS = 0.05
"""When to look again for a run that is due but not written yet."""
ORPHAN_SECONDS = 60.0
"""Work whose run never came into being is dropped after this."""


class Worker:
    """Works off the dispatch table."""

    def __init__(self, dispatch: Dispatch, executor: Executor) -> None:
        self._dispatch = dispatch
        self._executor = executor
        self._active: dict[tuple[str, str], anyio.CancelScope] = {}
        self._news = anyio.Event()
        self._idle = anyio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Look at the table now."""
        self._news.set()

    def cancel(self, tenant: str, run: str) -> None:
        """Cut off a run that this process works on."""
        scope = self._active.get((tenant, run))
        if scope is not None:
            scope.cancel()

    async def stop_tenant(self, tenant: str) -> None:
        """Cut off all runs of a tenant that this process works on, and return once they have ended."""
        while scopes := [scope for (owner, _), scope in self._active.items() if owner == tenant]:
            for scope in scopes:
                scope.cancel()
            await self._idle.wait()

    async def work(self) -> None:
        """Claim and execute runs until cancelled."""
        freed = await self._dispatch.free_the_dead()
        if freed:
            logger.info("taking up what a dead process left", runs=freed)
        async with anyio.create_task_group() as group:
            while not self._stopping:
                self._news = anyio.Event()
                pause = POLL_SECONDS
                try:
                    pause = await self._claim(group)
                except Exception:
                    # A database that is busy or away now may be back at the next look; calls are served meanwhile.
                    logger.exception("due runs could not be looked up")
                with anyio.move_on_after(pause):
                    await self._news.wait()

    async def stop(self) -> None:
        """Claim nothing more, and give what is under way some time to end."""
        self._stopping = True
        self.wake()
        with anyio.move_on_after(GRACE_SECONDS):
            while self._active:
                await self._idle.wait()

    async def _claim(self, group: TaskGroup) -> float:
        """Claim what is due, and return after how many seconds to look again."""
        room = CONCURRENT_RUNS - len(self._active)
        upcoming = await self._dispatch.next_due()
        if room <= 0 or upcoming is None:
            return POLL_SECONDS
        if upcoming > 0:
            return min(POLL_SECONDS, max(upcoming, SOON_SECONDS))
        for due in await self._dispatch.claim(room):
            # Noted here and not in the task, so that the next look counts it.
            self._active[due.tenant, due.run] = anyio.CancelScope()
            group.start_soon(self._one, due)
        return SOON_SECONDS

    async def _one(self, due: Due) -> None:
        place = (due.tenant, due.run)
        again: float | None = 0.0  # where it is cut off, another process takes it up at once
        try:
            with self._active[place] as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._hold, due, scope)
                    again = await self._execute(due)
                    group.cancel_scope.cancel()
            if scope.cancelled_caught:
                again = None  # cancelled by a person, or lost to another worker
        finally:
            del self._active[place]
            self._idle.set()
            self._idle = anyio.Event()
            with anyio.CancelScope(shield=True):
                await self._release(due, again)
            self.wake()

    async def _execute(self, due: Due) -> float | None:
        """Take a run as far as it goes; return in how many seconds to look at it again, or None for never."""
        try:
            await self._executor.execute(due.tenant, due.run)
        except Absent:
            return SOON_SECONDS if time.time() - due.created < ORPHAN_SECONDS else None
        except Exception:
            # A run that can't even be claimed must not stop the others.
            logger.exception("run could not be executed", tenant=due.tenant, run=due.run)
            return POLL_SECONDS
        return None

    async def _release(self, due: Due, again: float | None) -> None:
        """Strike a run off, or give it back for as many seconds; done once, for what is free may be claimed anew."""
        try:
            if again is None:
                await self._dispatch.done(due)
            else:
                await self._dispatch.postpone(due, again)
        except Exception:
            # Its lease runs out by itself, and then it is looked at again: no reason to stop the others.
            logger.exception("run could not be given back", tenant=due.tenant, run=due.run)

    async def _hold(self, due: Due, scope: anyio.CancelScope) -> None:
        while True:
            await anyio.sleep(HEARTBEAT_SECONDS)
            try:
                held = await self._dispatch.renew(due)
            except Exception:
                # The lease outlives two missed beats; should it run out, the fence keeps this worker from writing.
                logger.exception("lease could not be renewed", tenant=due.tenant, run=due.run)
                continue
            if not held:
                logger.warning("lease was lost", tenant=due.tenant, run=due.run)
                scope.cancel()


@asynccontextmanager
async def working(worker: Worker) -> AsyncGenerator[None]:
    """Let a worker work for as long as the process serves."""
    async with anyio.create_task_group() as group:
        group.start_soon(worker.work)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await worker.stop()
            group.cancel_scope.cancel()
