"""Where tasks are kept: what every store can do, and the one that forgets with its process."""

from __future__ import annotations

import copy
from typing import Any, Protocol

from tausestack.errors import InDoubt, RateLimited
from tausestack.mcp.tasks.record import Task, TaskLimits, moment
from tausestack.raw import object_at


class TaskStore(Protocol):
    """Keeps tasks by tenant; what it gives out is the caller's own copy."""

    async def create(self, task: Task, limits: TaskLimits) -> Task:
        """Keep a new task, or return the one that the same call made before.

        Raises `KeyReused` where the key came with another call, `RateLimited` where the tenant has too many.
        """
        ...

    async def find(self, tenant: str, task: str) -> Task | None:
        """Return a task, None where there is none or its time is over."""
        ...

    async def save(self, task: Task) -> bool:
        """Keep how far a task is, unless it has ended or another process has taken it over: then return False."""
        ...

    async def answer(self, tenant: str, task: str, answers: dict[str, dict[str, Any]]) -> None:
        """Keep answers to requests for input."""
        ...

    async def cancel(self, tenant: str, task: str) -> None:
        """Keep the wish that a task be cancelled."""
        ...

    async def purge(self, tenant: str) -> None:
        """Forget the tasks whose time is over."""
        ...


class MemoryTasks:
    """Tasks that end with their process."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], Task] = {}

    async def create(self, task: Task, limits: TaskLimits) -> Task:
        """Keep a new task, or return the one that the same call made before."""
        await self.purge(task.owner.tenant)
        same = [each for (tenant, _), each in self._tasks.items() if tenant == task.owner.tenant]
        for each in same:
            if task.key is not None and (each.tool, each.key) == (task.tool, task.key):
                if stands_for(each, task):
                    return copy.deepcopy(each)
                each.key = None
        check_room(len(same), sum(each.ending is None for each in same), limits)
        self._tasks[task.owner.tenant, task.id] = copy.deepcopy(task)
        return task

    async def find(self, tenant: str, task: str) -> Task | None:
        """Return a task, None where there is none or its time is over."""
        found = self._tasks.get((tenant, task))
        return None if found is None or found.expired(moment()) else copy.deepcopy(found)

    async def save(self, task: Task) -> bool:
        """Keep how far a task is."""
        kept = self._tasks.get((task.owner.tenant, task.id))
        if kept is None or kept.ending is not None:
            return False
        self._tasks[task.owner.tenant, task.id] = copy.deepcopy(task)
        return True

    async def answer(self, tenant: str, task: str, answers: dict[str, dict[str, Any]]) -> None:
        """Keep answers to requests for input."""
        if (kept := self._tasks.get((tenant, task))) is not None:
            kept.answers = {**answers, **kept.answers}

    async def cancel(self, tenant: str, task: str) -> None:
        """Keep the wish that a task be cancelled."""
        if (kept := self._tasks.get((tenant, task))) is not None:
            kept.cancelling = True

    async def purge(self, tenant: str) -> None:
        """Forget the tasks whose time is over."""
        now = moment()
        over = [key for key, each in self._tasks.items() if key[0] == tenant and each.expired(now)]
        for key in over:
            del self._tasks[key]


def stands_for(kept: Task, asked: Task) -> bool:
    """Return whether a kept task is the answer to a call with the same key, or raise `KeyReused` for another call.

    One that came to nothing is not: as without tasks, the call may be made again.
    """
    asked.told_by.check(kept.digest)
    if kept.ending == "completed":
        return object_at(kept.result).get("isError") is not True
    if kept.ending == "failed":
        return object_at(kept.error, "data").get("code") == InDoubt.code
    return kept.ending is None


def check_room(kept: int, running: int, limits: TaskLimits) -> None:
    """Raise `RateLimited` where a tenant has as many tasks as it may have."""
    if running >= limits.running:
        raise RateLimited(f"{running} tasks of this tenant run already: wait until one has ended")
    if kept >= limits.kept:
        raise RateLimited(f"{kept} tasks of this tenant are kept already: wait until the time of one is over")
