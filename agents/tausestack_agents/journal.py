"""The journal of a run: what each model and tool call was about to do, and what came of it.

It is the authority on resume: a call with a result is replayed from here, never made again. A call without one is in
doubt: it is made again where that can do no harm, and otherwise waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import sqlalchemy as sa

from tausestack.database import Connection, TenantDatabases
from tausestack.tracing import Tracing
from tausestack_agents import events as telling
from tausestack_agents.events import Event, Kind
from tausestack_agents.failpoints import passing
from tausestack_agents.lines import LINES, NAMES, Line, Lines, changed
from tausestack_agents.store import Fenced, Paused, add_event, add_events, check_fence, now
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
    """The journal of one run under one claim; every write is refused once another worker has claimed the run.

    Nobody else writes it while the claim holds: what it has is read once, and from then on known.
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
        self._lines: Lines | None = None
        self._said: list[Line] = []
        """The offline planner's answers that ask for calls: each is written with the first of these."""
        self._writing = anyio.Lock()
        self.tracing = tracing
        self._under_way: set[tuple[str, str]] = set()
        self._settled = anyio.Event()

    def check_held(self) -> None:
        """Raise `Fenced` where the lease ran out since its last renewal: after having been frozen, nothing is sent."""
        if not self._holds():
            raise Fenced(self.run)

    async def find(self, task: str, call: str) -> Line | None:
        """Return a call's line, or None."""
        return (await self._known()).get((task, call))

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

        The planner's, which cost nothing, are written with the first of the calls that they ask for.
        """
        passing("model.before")
        kept = {"kind": "model", "status": "done", "result": response, "arguments": {"attempts": list(attempts)}}
        line = changed(await self._known(), task, call, kept)
        if last or (task, call) in await self._known() or telling.model_cost("", response) is not None:
            pausing = await self._write(task, call, kept, last=last)
            if pausing and not last:
                self._pause()
        else:
            self._note(line)
            self._said.append(line)
        passing("model.after")

    async def tell(self, kind: Kind, data: dict[str, Any]) -> None:
        """Append an event that no line of the journal tells: a piece of text, a handoff."""

        async def work(db: Connection) -> None:
            await check_fence(db, self.run, self.fence)
            await add_event(db, self.run, kind, data)

        await self._databases.write(self._tenant, work)
        self._on_write()

    async def hand_over(self, leg: int, about: dict[str, Any], rules: list[dict[str, Any]]) -> None:
        """Write, once, that another agent takes over, and the approvals that hold from here on."""
        task, known = f"{leg}.handoff", await self._known()
        if (task, "handoff") in known:
            return
        async with self._writing:
            line = changed(known, task, "handoff", {"kind": "handoff", "arguments": about, "status": "done"})

            async def work(db: Connection) -> None:
                await check_fence(db, self.run, self.fence)
                await db.execute(sa.insert(journal).values(run=self.run, at=now(), **line.values()))
                await db.execute(sa.update(runs).where(runs.c.id == self.run).values(rules=rules))
                await add_event(db, self.run, "handoff", about)

            await self._databases.write(self._tenant, work)
            self._note(line)
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
        passing("result.before")
        pausing = await self._write(call.task, call.call, values, ended=status not in {"waiting", "in_doubt"})
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

    async def tool_calls(self, *tasks: str) -> list[Line]:
        """Return the lines of tasks' tool calls, in order."""
        lines = [line for line in (await self._known()).values() if line.task in tasks and line.kind == "tool"]
        return sorted(lines, key=lambda line: line.position)

    async def has_results(self) -> bool:
        """Return whether any tool has told the run anything."""
        return any(line.kind == "tool" and line.status in {"done", "failed"} for line in (await self._known()).values())

    async def _known(self) -> Lines:
        if self._lines is None:
            of_run = LINES.where(journal.c.run == self.run)
            rows = await self._databases.read(self._tenant, lambda db: db.execute(of_run))
            lines = [Line(**dict(zip(NAMES, row, strict=True))) for row in rows]
            self._lines = {(line.task, line.call): line for line in lines}
        return self._lines

    def _note(self, line: Line) -> None:
        assert self._lines is not None
        self._lines[line.task, line.call] = line

    async def _write(
        self,
        task: str,
        call: str,
        values: dict[str, Any],
        *,
        begins: bool = False,
        edited: bool | None = None,
        last: bool = False,
        ended: bool = False,
    ) -> bool:
        """Write a line, and those that waited for it, with the events that tell of them, in one transaction.

        Returns whether the run is to pause; where it is, nothing that begins a call is written: that raises `Paused`.
        """
        known = await self._known()
        async with self._writing:
            line, said = changed(known, task, call, values), list(self._said)
            is_new = (task, call) not in known
            times = {"ended_at": now()} if ended else {}
            told = self._told([*said, line] if is_new else said)
            if line.kind == "tool":
                told += [] if edited is False else telling.call(line, edited=bool(edited))
            elif (spent := telling.model_cost(f"{task}/{call}", line.result)) is not None:
                told.append(spent)
            told += [telling.step(task, "done")] if last else []

            async def work(db: Connection) -> bool:
                pausing = await check_fence(db, self.run, self.fence)
                if pausing and begins:
                    raise Paused(self.run)
                for each in said:
                    await db.execute(sa.insert(journal).values(run=self.run, at=now(), **each.values()))
                if is_new:
                    await db.execute(sa.insert(journal).values(run=self.run, at=now(), **line.values(), **times))
                else:
                    here = (journal.c.run == self.run, journal.c.task == task, journal.c.call == call)
                    await db.execute(sa.update(journal).where(*here).values(**values, **times))
                await add_events(db, self.run, told)
                return pausing

            pausing = await self._databases.write(self._tenant, work)
            self._note(line)
            self._said = [each for each in self._said if each not in said]
        self._on_write()
        return pausing

    def _pause(self) -> None:
        """Raise `Paused`, unless another call of the run is under way: the last one of them stops it."""
        if not self._under_way:
            raise Paused(self.run)

    def _told(self, fresh: Sequence[Line]) -> list[Event]:
        """Return that tasks began whose first line is among those to be written."""
        assert self._lines is not None
        begun = {line.task for line in self._lines.values() if line not in fresh}
        return [
            telling.step(task, "running") for task in dict.fromkeys(each.task for each in fresh) if task not in begun
        ]
