"""The journal of a run: what each model and tool call was about to do, and what came of it.

It is the authority on resume: a call with a result is replayed from here, never made again. A call without one is in
doubt: it is made again where that can do no harm, and otherwise waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tausestack.database import Connection, Row, TenantDatabases
from tausestack_agents import events as telling
from tausestack_agents.events import Event, Kind
from tausestack_agents.store import add_event, add_events, check_fence, now
from tausestack_agents.tables import journal, runs


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of a run: where it stands in the run, and what it calls."""

    task: str
    call: str
    server: str
    tool: str
    arguments: dict[str, Any]
    key: str


class Journal:
    """The journal of one run under one claim; every write is refused once another worker has claimed the run."""

    def __init__(
        self, databases: TenantDatabases, tenant: str, run: str, fence: int, *, on_write: Callable[[], None]
    ) -> None:
        self._on_write = on_write
        self._databases = databases
        self._tenant = tenant
        self.run = run
        self.fence = fence

    async def find(self, task: str, call: str) -> Row | None:
        """Return a call's line, or None."""
        query = sa.select(journal).where(journal.c.run == self.run, journal.c.task == task, journal.c.call == call)
        async with self._databases.reading(self._tenant) as db:
            return await db.one(query)

    async def intend(self, call: ToolCall) -> None:
        """Write what a tool call is about to do, before it is sent."""
        values: dict[str, Any] = {
            "kind": "tool",
            "server": call.server,
            "tool": call.tool,
            "arguments": call.arguments,
            "key": call.key,
            "status": "intent",
        }
        await self._write(call.task, call.call, values)

    async def reserve_model(self, task: str, call: str, attempts: Sequence[Mapping[str, Any]]) -> None:
        """Write what a request to a model may use before it is made: for each attempt its model, tokens, US dollars."""
        await self._write(task, call, {"kind": "model", "status": "intent", "arguments": {"attempts": list(attempts)}})

    async def keep_model(
        self,
        task: str,
        call: str,
        response: dict[str, Any],
        attempts: Sequence[Mapping[str, Any]] = (),
        *,
        last: bool = False,
    ) -> None:
        """Write a model's response, and what attempts that failed used; the `last` of its task ends the step."""
        values: dict[str, Any] = {"kind": "model", "status": "done", "result": response}
        await self._write(task, call, {**values, "arguments": {"attempts": list(attempts)}}, last=last)

    async def tell(self, kind: Kind, data: dict[str, Any]) -> None:
        """Append an event that no line of the journal tells: a piece of text, a handoff."""
        async with self._databases.transaction(self._tenant) as db:
            await check_fence(db, self.run, self.fence)
            await add_event(db, self.run, kind, data)
        self._on_write()

    async def hand_over(self, leg: int, about: dict[str, Any], rules: list[dict[str, Any]]) -> None:
        """Write, once, that another agent takes over, and the approvals that hold from here on."""
        task = f"{leg}.handoff"
        async with self._databases.transaction(self._tenant) as db:
            await check_fence(db, self.run, self.fence)
            here = (journal.c.run == self.run, journal.c.task == task)
            if await db.one(sa.select(journal.c.position).where(*here)) is not None:
                return
            position, _ = await self._lines(db, task)
            line = {"kind": "handoff", "arguments": about, "status": "done", "at": now(), "position": position}
            await db.execute(sa.insert(journal).values(run=self.run, task=task, call="handoff", **line))
            await db.execute(sa.update(runs).where(runs.c.id == self.run).values(rules=rules))
            await add_event(db, self.run, "handoff", about)
        self._on_write()

    async def settle(
        self,
        call: ToolCall,
        status: str,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        approval: str | None = None,
    ) -> None:
        """Write what came of a tool call: `done`, `failed`, `waiting` (with its approval), `rejected` or `in_doubt`."""
        values: dict[str, Any] = {"status": status, "result": result, "error": error}
        if approval is not None:
            values["approval"] = approval
        if status not in {"waiting", "in_doubt"}:
            values["ended_at"] = now()
        await self._write(call.task, call.call, values)

    async def edit(self, call: ToolCall) -> None:
        """Write that a person changed the arguments of a call that was held."""
        await self._write(call.task, call.call, {"arguments": call.arguments, "status": "intent"}, edited=True)

    async def _write(
        self, task: str, call: str, values: dict[str, Any], *, edited: bool = False, last: bool = False
    ) -> None:
        """Write a line and the events that tell of it, in one transaction."""
        here = (journal.c.run == self.run, journal.c.task == task, journal.c.call == call)
        told: list[Event] = []
        async with self._databases.transaction(self._tenant) as db:
            await check_fence(db, self.run, self.fence)
            if not await db.change(sa.update(journal).where(*here).values(**values)):
                position, of_task = await self._lines(db, task)
                await db.execute(
                    sa.insert(journal).values(run=self.run, task=task, call=call, position=position, at=now(), **values)
                )
                told += [] if of_task else [telling.step(task, "running")]
            line = await db.one(sa.select(journal).where(*here))
            assert line is not None
            if line.kind == "tool":
                told += telling.call(line, edited=edited)
            elif (spent := telling.model_cost(f"{task}/{call}", line.result)) is not None:
                told.append(spent)
            await add_events(db, self.run, [*told, *([telling.step(task, "done")] if last else [])])
        self._on_write()

    async def _lines(self, db: Connection, task: str) -> tuple[int, int]:
        """Return how many lines the journal has, and how many of them are a task's."""
        of_task = sa.func.coalesce(sa.func.sum(sa.case((journal.c.task == task, 1), else_=0)), 0)
        row = await db.one(sa.select(sa.func.count(), of_task).where(journal.c.run == self.run))
        assert row is not None
        return int(row[0]), int(row[1])

    async def has_results(self) -> bool:
        """Return whether any tool has told the run anything."""
        ended = journal.c.status.in_(("done", "failed"))
        query = sa.select(journal.c.position).where(journal.c.run == self.run, journal.c.kind == "tool", ended).limit(1)
        async with self._databases.reading(self._tenant) as db:
            return await db.scalar(query) is not None

    async def tool_calls(self, *tasks: str) -> list[Row]:
        """Return the lines of tasks' tool calls, in order."""
        query = (
            sa.select(journal)
            .where(journal.c.run == self.run, journal.c.task.in_(tasks), journal.c.kind == "tool")
            .order_by(journal.c.position)
        )
        async with self._databases.reading(self._tenant) as db:
            return await db.execute(query)
