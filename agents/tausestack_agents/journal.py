"""The journal of a run: what was planned, what each model and tool call was about to do, and what came of it.

It is the authority on resume: a run that is begun anew plans nothing else, and a call with a result is replayed from
here, never made again. A call without one is in doubt: it is made again where that can do no harm, and otherwise waits
for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import sqlalchemy as sa

from tausestack.database import Connection, Row, TenantDatabases
from tausestack.tracing import Tracing
from tausestack_agents import events as telling
from tausestack_agents.events import Event, Kind
from tausestack_agents.failpoints import passing
from tausestack_agents.lines import Line, Lines, are_short, of_row
from tausestack_agents.store import Fenced, Paused, add_events, change_line, check_fence, end_run, insert_lines
from tausestack_agents.tables import runs

SHORT_LINES = 100
"""With more lines than this a run is not ended in the event loop's thread."""


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
    """The journal of one run under one claim; every write is refused once another worker has claimed the run.

    Nobody else writes it, or the run's events, while the claim holds: what there is is read once, and from then on
    known. What cost nothing and is told by the code and by what is written already waits for the next write.
    """

    def __init__(
        self,
        databases: TenantDatabases,
        tenant: str,
        run: str,
        fence: int,
        *,
        on_write: Callable[[], None],
        holds: Callable[[], bool] = lambda: True,
        tracing: Tracing | None = None,
    ) -> None:
        """`holds` tells whether the lease on the run still runs, without asking anybody.

        `tracing` is what the spans of requests to models are made by.
        """
        self._on_write = on_write
        self._holds = holds
        self._databases = databases
        self._tenant = tenant
        self.run = run
        self.fence = fence
        self._lines: Lines = {}
        self._position = -1
        """That of the last line."""
        self._events = 0
        """The number of the run's last event."""
        self._waiting: list[tuple[Line, list[Event]]] = []
        """Lines that are written with the next one, each with what is told of it."""
        self._writing = anyio.Lock(fast_acquire=True)
        self.tracing = tracing
        self._under_way: set[tuple[str, str]] = set()
        self._settled = anyio.Event()

    def check_held(self) -> None:
        """Raise `Fenced` where the lease ran out since its last renewal: after having been frozen, nothing is sent."""
        if not self._holds():
            raise Fenced(self.run)

    async def find(self, task: str, call: str) -> Line | None:
        """Return a call's line, or None."""
        return self._lines.get((task, call))

    async def plan(self, task: str) -> dict[str, Any] | None:
        """Return what was planned, or None."""
        line = self._lines.get((task, "plan"))
        return None if line is None else line.arguments

    async def keep_plan(self, task: str, plan: dict[str, Any]) -> None:
        """Keep what was planned: it is written with the first call that follows from it."""
        passing("plan.before")
        values = {"kind": "plan", "status": "done", "arguments": plan}
        self._wait(self._changed(task, "plan", values), [])
        passing("plan.after")

    async def handoff(self, leg: int) -> dict[str, Any] | None:
        """Return who took over as the so-manieth agent after the first, and in which version, or None."""
        line = self._lines.get((f"{leg}.handoff", "handoff"))
        return None if line is None else line.arguments

    async def hand_over(self, leg: int, about: dict[str, Any], version: int, rules: list[dict[str, Any]]) -> None:
        """Write that another agent takes over, in a version, and the approvals that hold from here on."""
        values = {"kind": "handoff", "arguments": {**about, "version": version}, "status": "done"}
        async with self._writing:
            line = self._changed(f"{leg}.handoff", "handoff", values)
            await self._commit([line], [("handoff", about)], rules=rules)

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
        passing("intent.before")
        try:
            await self._write(call.task, call.call, values, begins=True)
        except Paused:
            while self._under_way:
                await self._settled.wait()
            raise
        self._under_way.add((call.task, call.call))
        passing("intent.after")

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
        """Write a model's response, and what attempts that failed used; the `last` of its task ends the step.

        The planner's, which cost nothing, wait for the next write, unless that is a while off.
        """
        passing("model.before")
        kept = {"kind": "model", "status": "done", "result": response, "arguments": {"attempts": list(attempts)}}
        known = self._lines
        free = (task, call) not in known and telling.model_cost("", response) is None
        if free and not (last and self._under_way):
            line = self._changed(task, call, kept)
            self._wait(line, [*self._begun(line), *([telling.step(task, "done")] if last else [])])
        else:
            pausing = await self._write(task, call, kept, last=last)
            if pausing and not last:
                self._pause()
        passing("model.after")

    async def tell(self, kind: Kind, data: dict[str, Any]) -> None:
        """Append an event that no line of the journal tells: a piece of text, a handoff."""
        async with self._writing:
            await self._commit([], [(kind, data)])

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
        passing("result.before")
        pausing = await self._write(call.task, call.call, values)
        passing("result.after")
        self._under_way.discard((call.task, call.call))
        self._settled.set()
        self._settled = anyio.Event()
        if pausing:
            self._pause()

    async def edit(self, call: ToolCall, *, approved: bool = True) -> None:
        """Write that a call that was held goes on: with a person's word, and arguments, or to ask what became of it."""
        await self._write(call.task, call.call, {"arguments": call.arguments, "status": "intent"}, edited=approved)
        self._under_way.add((call.task, call.call))

    async def flush(self) -> None:
        """Write what waits: the run stops here, or what it is at is checkpointed."""
        async with self._writing:
            if self._waiting:
                await self._commit([], [])

    async def end(self, status: str, **values: Any) -> None:
        """Write what waits, and how the run ended; raises `Fenced`."""
        async with self._writing:
            lines, events = self._unwritten()
            known = list(self._lines.values())

            async def work(db: Connection) -> None:
                await insert_lines(db, self.run, lines)
                await add_events(db, self.run, events, after=self._events)
                after = self._events + len(events)
                await end_run(db, self.run, self.fence, status, lines=known, after=after, **values)

            await self._databases.write(self._tenant, work, short=len(known) <= SHORT_LINES and are_short(lines))
            self._waiting.clear()

    async def tool_calls(self, *tasks: str) -> list[Line]:
        """Return the lines of tasks' tool calls, in order."""
        lines = [line for line in self._lines.values() if line.task in tasks and line.kind == "tool"]
        return sorted(lines, key=lambda line: line.position)

    async def has_results(self) -> bool:
        """Return whether any tool has told the run anything."""
        return any(line.kind == "tool" and line.status in {"done", "failed"} for line in self._lines.values())

    def know(self, rows: Sequence[Row], last_event: int) -> None:
        """Take what there is of the run when it is claimed: its journal, and the number of its last event."""
        self._lines = {(row.task, row.call): of_row(row) for row in rows}
        self._position = max((row.position for row in rows), default=-1)
        self._events = last_event

    def _wait(self, line: Line, told: list[Event]) -> None:
        self._lines[line.task, line.call] = line
        self._waiting.append((line, told))

    async def _write(
        self,
        task: str,
        call: str,
        values: dict[str, Any],
        *,
        begins: bool = False,
        edited: bool | None = None,
        last: bool = False,
    ) -> bool:
        """Write a line with the events that tell of it.

        Returns whether the run is to pause; where it is, nothing that begins a call is written: that raises `Paused`.
        """
        known = self._lines
        async with self._writing:
            line, is_new = self._changed(task, call, values), (task, call) not in known
            told = self._begun(line) if is_new else []
            if line.kind == "tool":
                told += [] if edited is False else telling.call(line, edited=bool(edited))
            elif (spent := telling.model_cost(f"{task}/{call}", line.result)) is not None:
                told.append(spent)
            told += [telling.step(task, "done")] if last else []
            return await self._commit([line] if is_new else [], told, changed=None if is_new else line, begins=begins)

    async def _commit(
        self,
        fresh: Sequence[Line],
        told: Sequence[Event],
        *,
        changed: Line | None = None,
        rules: list[dict[str, Any]] | None = None,
        begins: bool = False,
    ) -> bool:
        """Write what waits, then lines, and what is told, in one transaction; who calls this holds `_writing`.

        Returns whether the run is to pause.
        """
        known = self._lines
        lines, events = self._unwritten()
        lines, events = [*lines, *fresh], [*events, *told]
        touched = (*fresh, *([] if changed is None else [changed]))

        async def work(db: Connection) -> bool:
            pausing = await check_fence(db, self.run, self.fence)
            if pausing and begins:
                raise Paused(self.run)
            await insert_lines(db, self.run, lines)
            if changed is not None:
                await change_line(db, self.run, changed)
            if rules is not None:
                await db.execute(sa.update(runs).where(runs.c.id == self.run).values(rules=rules))
            await add_events(db, self.run, events, after=self._events)
            return pausing

        waiting = len(self._waiting)
        pausing = await self._databases.write(self._tenant, work, short=are_short((*lines, *touched)))
        self._events += len(events)
        del self._waiting[:waiting]
        for line in touched:
            known[line.task, line.call] = line
        self._on_write()
        return pausing

    def _unwritten(self) -> tuple[list[Line], list[Event]]:
        """Return the lines that wait for the next write, and what is told of them."""
        return [line for line, _ in self._waiting], [event for _, about in self._waiting for event in about]

    def _changed(self, task: str, call: str, values: dict[str, Any]) -> Line:
        """Return a call's line with some values changed; a new one comes after all others."""
        line = self._lines.get((task, call))
        if line is not None:
            return replace(line, **values)
        self._position += 1
        return Line(task=task, call=call, position=self._position, **values)

    def _pause(self) -> None:
        """Raise `Paused`, unless another call of the run is under way: the last one of them stops it."""
        if not self._under_way:
            raise Paused(self.run)

    def _begun(self, line: Line) -> list[Event]:
        """Return that a line's task begins with it, where it does."""
        begun = any(each.task == line.task for each in self._lines.values())
        return [] if begun else [telling.step(line.task, "running")]
