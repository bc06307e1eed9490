"""A task that runs in this process: what its tool tells of it, and the input that it waits for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import anyio

from tausestack.mcp.tasks.record import Ending, Task, moment


class Work(Protocol):
    """What tasks are made of."""

    def repeatable(self, task: Task) -> bool:
        """Return whether a task that broke off may be begun anew: its effect then happens once all the same."""
        ...

    async def run(self, task: Task, run: Run) -> dict[str, Any]:
        """Do a task's work and return its call's result; an `MCPError` makes it a failed task."""
        ...


class Run:
    """One task at work."""

    def __init__(self, task: Task, notify: Callable[[], None], local: Any = None) -> None:
        self.task = task
        self.local = local
        """What the process that made the task knows of it, and no other."""
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.changed = anyio.Event()
        """Set when something happened that is not kept yet."""
        self.lost = False
        """Whether another process has taken it over."""
        self._notify = notify
        self._answered = anyio.Event()
        self._used: set[str] = set()

    def report(self, message: str) -> None:
        """Tell how far the task is."""
        if message != self.task.message:
            self.task.message = message
            self._touch()

    async def ask(self, name: str, request: dict[str, Any], unless: anyio.Event | None = None) -> dict[str, Any]:
        """Return the client's answer to a request for input (`{"method", "params"}`), once there is one.

        A run that was begun anew gets the answer that an earlier one got to the same request. Once `unless` is set the
        request is taken back, and `{"action": "cancel"}` returned.
        """
        key = self._key(name, request)
        self._used.add(key)
        if key not in self.task.asked:
            self.task.asked[key] = copy.deepcopy(request)
            self._touch()
        while key not in self.task.answers:
            if unless is not None and unless.is_set():
                del self.task.asked[key]
                self._touch()
                return {"action": "cancel"}
            await _either(self._answered, unless)
        return copy.deepcopy(self.task.answers[key])

    def answer(self, answers: dict[str, dict[str, Any]]) -> None:
        """Take answers; what is not outstanding is ignored."""
        fresh = {key: each for key, each in answers.items() if key in self.task.outstanding}
        if fresh:
            self.task.answers.update(copy.deepcopy(fresh))
            self._answered.set()
            self._answered = anyio.Event()
            self._touch()

    def cancel(self) -> None:
        """Stop, as the client wishes."""
        self.task.cancelling = True
        self.scope.cancel()

    def lose(self) -> None:
        """Stop: the task is another process's now."""
        self.lost = True
        self.scope.cancel()

    def ending(self, ending: Ending, message: str | None = None, **outcome: Any) -> Task:
        """Return the task as it is once it has ended."""
        return replace(
            self.task, ending=ending, message=message, call={}, asked={}, answers={}, updated_at=moment(), **outcome
        )

    def _key(self, name: str, request: dict[str, Any]) -> str:
        """Return a key that this run has not used and that stands for no other request."""
        key, number = name, 1
        while key in self._used or self.task.asked.get(key, request) != request:
            number += 1
            key = f"{name}-{number}"
        return key

    def _touch(self) -> None:
        self.task.updated_at = moment()
        self.changed.set()
        self._notify()


async def _either(event: anyio.Event, other: anyio.Event | None) -> None:
    """Wait until one of two events is set."""
    if other is None:
        await event.wait()
        return
    async with anyio.create_task_group() as group:

        async def wait(each: anyio.Event) -> None:
            await each.wait()
            group.cancel_scope.cancel()

        group.start_soon(wait, event)
        group.start_soon(wait, other)
