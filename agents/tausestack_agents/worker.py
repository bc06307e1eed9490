"""The worker of the agents process: it claims due runs, holds them by a lease, and lets go of what it loses."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import structlog
from anyio.abc import TaskGroup

from tausestack.errors import Unavailable
from tausestack_agents.apart.rooms import Died, NoRoom, Rooms
from tausestack_agents.dispatch import EVERY, Dispatch, Due
from tausestack_agents.domain import UNDER_WAY
from tausestack_agents.execution import Absent, Executor
from tausestack_agents.own import Apart
from tausestack_agents.store import Fenced

logger = structlog.get_logger("agents")

CONCURRENT_RUNS = 32
"""How many runs one process works on at once: they wait for tools and models most of the time."""
HEARTBEATS = 3
"""How often within a lease it is renewed."""
POLL_SECONDS = 2.0
"""How often work is looked for that another process left; work of this process is taken up at once."""
GRACE_SECONDS = 5.0
"""How long runs may go on when the process is told to stop; what is cut off is taken up by the next one."""
YIELD_SECONDS = 0.02
"""How long a worker beside others holds back for each run that it has, so that who has fewer comes first."""
YIELD_RUNS = 5
SOON_SECONDS = 0.05
"""When to look again for a run that is due but not written yet."""
ROOM_SECONDS = 0.5
"""When to look again for a process apart, where all are in use."""
DEATHS_HERE, DEATHS = 3, 12
"""How often the process may die that a run has to itself, at one place of it and in all, before the run is ended."""
AGAIN_SECONDS = 0.5
"""When a run is taken up again whose process died; each further time four times as late."""
ORPHAN_SECONDS = 60.0
"""Work whose run never came into being is dropped after this."""


class Worker:
    """Works off the dispatch table."""

    def __init__(self, dispatch: Dispatch, executor: Executor, *, workers: int = 1, rooms: Rooms | None = None) -> None:
        """`workers`: how many there are in the stack, this one among them; `rooms`: where own code runs."""
        self._rooms = rooms
        self._others = workers > 1
        self._dispatch = dispatch
        self._executor = executor
        self._active: dict[tuple[str, str], anyio.CancelScope] = {}
        self._news = anyio.Event()
        self._idle = anyio.Event()
        self._held: dict[tuple[str, str], tuple[Due, float]] = {}
        """What is held, and until when for certain, in `time.monotonic`'s seconds: it goes on while frozen."""
        self._stopping = False

    def wake(self) -> None:
        """Look at the table now."""
        self._news.set()

    def cancel(self, tenant: str, run: str) -> None:
        """Cut off a run that this process works on, or `EVERY` one of a tenant."""
        for place, scope in self._active.items():
            if place[0] == tenant and run in {place[1], EVERY}:
                scope.cancel()

    async def stop_tenant(self, tenant: str) -> None:
        """Cut off all runs of a tenant that this process works on, and return once they have ended."""
        while any(owner == tenant for owner, _ in self._active):
            self.cancel(tenant, EVERY)
            await self._idle.wait()
        if self._rooms is not None:
            self._rooms.empty()

    async def work(self) -> None:
        """Claim and execute runs until cancelled."""
        looked = False
        async with anyio.create_task_group() as group:
            group.start_soon(self._hold)
            while not self._stopping:
                self._news = anyio.Event()
                pause = POLL_SECONDS
                try:
                    if not looked:
                        await self._free_the_dead()
                        looked = True
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

    async def _free_the_dead(self) -> None:
        freed = await self._dispatch.free_the_dead()
        if freed:
            logger.info("taking up what a dead process left", runs=freed)

    async def _claim(self, group: TaskGroup) -> float:
        """Claim what is due, and return after how many seconds to look again."""
        room = CONCURRENT_RUNS - len(self._active)
        if room <= 0:
            return POLL_SECONDS
        if any(not self._holds(due) for due, _ in self._held.values()):
            # This process was held up for longer than its leases: what nobody took is its own still.
            await self._renew()
        if self._others:
            if (pause := await self._pause()) > 0:
                return pause
            await anyio.sleep(YIELD_SECONDS * min(len(self._active), YIELD_RUNS))
        until = time.monotonic() + self._dispatch.lease
        claimed = await self._dispatch.claim(room)
        for due in claimed:
            if (due.tenant, due.run) in self._active:
                # Its lease ran out while this process was frozen, and nobody took it: what was begun is begun anew.
                self._active[due.tenant, due.run].cancel()
                await self._release(due, SOON_SECONDS)
                continue
            # Noted here and not in the task, so that the next look counts it.
            self._active[due.tenant, due.run] = anyio.CancelScope()
            self._held[due.tenant, due.run] = (due, until)
            group.start_soon(self._one, due)
        return SOON_SECONDS if claimed else max(await self._pause(), SOON_SECONDS)

    async def _pause(self) -> float:
        """Return in how many seconds there may be a run to claim."""
        upcoming = await self._dispatch.next_due()
        if upcoming is None:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(upcoming, SOON_SECONDS)) if upcoming > 0 else 0.0

    async def _one(self, due: Due) -> None:
        place = (due.tenant, due.run)
        again: float | None = 0.0  # where it is cut off, another process takes it up at once
        try:
            with self._active[place] as scope:
                again = await self._execute(due)
            if scope.cancelled_caught:
                again = None  # cancelled by a person, or lost to another worker
        finally:
            del self._active[place], self._held[place]
            self._idle.set()
            self._idle = anyio.Event()
            with anyio.CancelScope(shield=True):
                await self._release(due, again)
            self.wake()

    async def _execute(self, due: Due) -> float | None:
        """Take a run as far as it goes; return in how many seconds to look at it again, or None for never."""
        try:
            return await self._taken(due)
        except Absent:
            return SOON_SECONDS if time.time() - due.created < ORPHAN_SECONDS else None
        except Fenced:
            # Taken over, ended meanwhile, or let go of after a freeze though nobody else took it: the next look tells.
            logger.info("run was let go of", tenant=due.tenant, run=due.run)
            return 0.0
        except Unavailable as error:
            logger.warning("run has to wait", tenant=due.tenant, run=due.run, reason=error.message)
            return POLL_SECONDS
        except Exception:
            # A run that can't even be claimed must not stop the others.
            logger.exception("run could not be executed", tenant=due.tenant, run=due.run)
            return POLL_SECONDS

    async def _taken(self, due: Due) -> float | None:
        """Take a run as far as it goes here, and further in a process apart where own code serves it."""
        try:
            await self._executor.execute(due.tenant, due.run, lambda: self._holds(due))
        except Apart:
            assert self._rooms is not None
            until = self._held[due.tenant, due.run][1]
            try:
                await self._rooms.execute(due.tenant, due.run, until, fresh=due.deaths > 0)
            except NoRoom:
                return ROOM_SECONDS
            except Died as died:
                return await self._died(due, died)
        return None

    async def _died(self, due: Due, how: Died) -> float | None:
        """Count the death of the process that a run had to itself: nothing but the run's own code can be to blame.

        Ends the run where that happened too often; returns when to look at it again.
        """
        status, ended_calls = await self._executor.standing(due.tenant, due.run)
        if status not in UNDER_WAY:
            return 0.0  # it had come to its end, or to a stop
        here, deaths = await self._dispatch.died(due, ended_calls)
        logger.error("own code ended its process", tenant=due.tenant, run=due.run, reason=str(how), deaths=deaths)
        if how.late:
            await self._executor.give_up(due.tenant, due.run, None)
        elif here >= DEATHS_HERE or deaths >= DEATHS:
            text = f"The agent's own code ended its process {deaths} times, last by {how}: its run was ended"
            error = {"code": "agent_crashed", "message": text, "deaths": deaths}
            await self._executor.give_up(due.tenant, due.run, error)
        else:
            return AGAIN_SECONDS * 4 ** (here - 1)
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

    def _holds(self, due: Due) -> bool:
        """Return whether a run is this worker's for certain, without asking: false after it was frozen for long."""
        return time.monotonic() < self._held[due.tenant, due.run][1]

    async def _hold(self) -> None:
        """Renew the leases of all that is held, for as long as this worker works."""
        while True:
            await anyio.sleep(self._dispatch.lease / HEARTBEATS)
            await self._renew()

    async def _renew(self) -> None:
        held = [due for due, _ in self._held.values()]
        if not held:
            return
        until = time.monotonic() + self._dispatch.lease
        try:
            lost = await self._dispatch.renew(held)
        except Exception:
            # The lease outlives two missed beats; should it run out, the fence keeps this worker from writing.
            logger.exception("leases could not be renewed", runs=len(held))
            return
        for due in held:
            place = (due.tenant, due.run)
            if place not in self._held or self._held[place][0] != due:
                continue  # let go of meanwhile, and perhaps claimed anew
            if due in lost:
                logger.warning("lease was lost", tenant=due.tenant, run=due.run)
                self._active[place].cancel()
            else:
                self._held[place] = (due, until)
                if self._rooms is not None:
                    self._rooms.hold(*place, until)


@asynccontextmanager
async def working(worker: Worker, database_url: str | None = None) -> AsyncGenerator[None]:
    """Let a worker work for as long as the process serves; on PostgreSQL it hears of others' work."""
    async with anyio.create_task_group() as group:
        group.start_soon(worker.work)
        if database_url is not None:
            from tausestack_agents.news import listen  # its driver costs memory that a stack on SQLite never uses

            group.start_soon(listen, database_url, worker)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await worker.stop()
            group.cancel_scope.cancel()
