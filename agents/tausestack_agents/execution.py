"""Taking one claimed run through the graph, to its end or to where a person has to decide."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import structlog
from langgraph.errors import GraphRecursionError
from langgraph.types import Command
from pydantic_ai.exceptions import AgentRunError

from tausestack.agents import Budget
from tausestack.agents.own import registered
from tausestack.contract import Principal
from tausestack.database import Connection, Row, TenantDatabases
from tausestack.errors import TauseError, Unavailable
from tausestack.raw import object_at
from tausestack.tracing import Tracing
from tausestack_agents import expiring, store, threads
from tausestack_agents.bell import Bell
from tausestack_agents.checkpoints import FIRST, Checkpoints, config
from tausestack_agents.company import Company, Known, known_of
from tausestack_agents.domain import ENDED, PAUSE, AgentFailed, subject
from tausestack_agents.failpoints import passing
from tausestack_agents.gateway import GatewayClient
from tausestack_agents.graph import RunGraph
from tausestack_agents.journal import Journal
from tausestack_agents.models.failures import told
from tausestack_agents.own import Apart
from tausestack_agents.planner.text import language
from tausestack_agents.spending import BudgetExceeded, Rate, Spending, check, seconds_left, worked
from tausestack_agents.state import Duty, initial
from tausestack_agents.store import Fenced, Paused
from tausestack_agents.threads import Past
from tausestack_agents.timers import Timers
from tausestack_agents.tracing import of_run
from tausestack_agents.unfinished import so_far

Wake = Callable[[str, str], Awaitable[None]]
"""Has a tenant's run looked at."""

logger = structlog.get_logger("agents")


AWAY_SECONDS = 300.0
"""So long after it was claimed first a run is looked at again when the database or the gateway is away."""


class Absent(Exception):
    """The run is not written yet."""


@dataclass(slots=True)
class _Found:
    """What is known of a run when it is claimed."""

    budgets: list[Budget]
    """Its own, and once it was read that of its agent."""
    longest: float = 0.0
    """Seconds that a run of its agent may take."""
    left: float | None = None
    """Seconds that its budgets leave; None where that is longer than any run may take."""
    lines: list[Row] = field(default_factory=list[Row])
    """Its journal."""
    known: Known | None = None
    """Its agent."""
    below: list[Row] = field(default_factory=list[Row])
    """The journals of the runs that it started."""
    last_event: int = 0
    past: Past = field(default_factory=lambda: Past("", [], []))

    async def read(self, db: Connection, row: Row) -> None:
        """Read all of it in one go."""
        self.known = spec, _ = await known_of(db, row.agent, row.version)
        self.budgets.append(spec.budget)
        self.longest = spec.seconds
        if any(budget.seconds is not None for budget in self.budgets):
            left = seconds_left(self.budgets, worked(await store.events_of(db, row.id, "run")))
            self.left = left if left is not None and left <= spec.seconds else None
        self.last_event = await store.last_event(db, row.id)
        if not _is_new(row):
            self.lines = await store.journal_of(db, row.id)
            self.below = await store.journals_below(db, row.id)
            self.past = await threads.past(db, row)


class Executor:
    """Executes runs; one for the process, any number of runs at a time."""

    def __init__(
        self,
        databases: TenantDatabases,
        gateway: GatewayClient,
        checkpoints: Checkpoints,
        bell: Bell,
        wake: Wake,
        timers: Timers,
        tracing: Tracing | None = None,
        *,
        own_code: bool = True,
        bounded: Callable[[float], None] | None = None,
    ) -> None:
        """`wake` has a run looked at that waits for another one.

        Where no `own_code` is run, a run that comes to it raises `Apart`. `bounded` is told how many seconds a run may
        take that was claimed.
        """
        self._own_code = own_code
        self._bounded = bounded
        self._tracing = tracing
        self._timers = timers
        self._databases = databases
        self._gateway = gateway
        self._checkpoints = checkpoints
        self._bell = bell
        self._wake = wake

    async def execute(self, tenant: str, run: str, holds: Callable[[], bool]) -> None:
        """Claim a run and take it as far as it goes.

        `holds` tells whether the lease on it still runs, without asking anybody. Raises `Absent` where there is no such
        run (yet), `Fenced` where the claim is over before the run is, or somebody else ended that, `Apart` where it has
        to be taken further elsewhere.
        """
        stopped = False
        try:
            # More than once where the decision was there before the run came to wait for it.
            while (claimed := await self._claim(tenant, run)) is not None:
                self._bell.ring(tenant, run, stops=False)
                with structlog.contextvars.bound_contextvars(tenant=tenant, run=run), of_run(self._tracing, claimed):
                    stopped = await self._taken(tenant, claimed, holds) not in ENDED
                    if not stopped:
                        break
        finally:
            self._bell.ring(tenant, run)
        # Before this run's own work is struck off: whoever takes that up after a crash comes here again.
        if not stopped:
            await self._tell_waiting(tenant, run)

    async def standing(self, tenant: str, run: str) -> tuple[str | None, int]:
        """Return a run's status, None where it has ended or is not there, and how many of its calls have ended."""

        async def look(db: Connection) -> tuple[str | None, int]:
            row = await store.find_run(db, run)
            if row is None or row.status in ENDED:
                return None, 0
            return row.status, sum(line.ended_at is not None for line in await store.journal_of(db, run))

        return await self._databases.read(tenant, look)

    async def give_up(self, tenant: str, run: str, error: dict[str, Any] | None) -> None:
        """End a run that can't be taken any further, with what it has: by an error, or (None) since its time is up."""
        row = await self._databases.write(tenant, lambda db: store.claim_run(db, run))
        if row is not None and error is not None:
            await self._unfinished(tenant, row, "error", {**error, "agent": row.agent})
        elif row is not None:
            found = _Found(budgets=[Budget.model_validate(row.budget or {})])
            await self._databases.read(tenant, lambda db: found.read(db, row))
            await self._late(tenant, row, found)
        self._bell.ring(tenant, run)
        await self._tell_waiting(tenant, run)

    async def _tell_waiting(self, tenant: str, run: str) -> None:
        """Have those looked at that wait for a run which has ended: what started it, and its thread's next turn."""

        async def look(db: Connection) -> list[str]:
            row = await store.find_run(db, run)
            if row is None or row.status not in ENDED:
                return []
            above = [] if row.parent is None else [row.parent]
            return above + (await store.turns_waiting(db, row.thread))[:1]

        for each in await self._databases.read(tenant, look, short=True):
            await self._wake(tenant, each)

    async def _claim(self, tenant: str, run: str) -> Row | None:
        async def work(db: Connection) -> Row | None:
            row = await store.find_run(db, run)
            if row is None:
                raise Absent(run)
            waits = row.status == "interrupted" and await store.decision_on(db, row) is None
            # A message from outside may have come while an earlier turn of its thread went on.
            if row.status == "pending" and "message" in (row.origin or {}):
                waits = await store.ahead(db, row) is not None
            if row.status not in ENDED and not waits and await self._comes_to_own_code(db, row):
                raise Apart
            return None if row.status in ENDED or waits else await store.claim_run(db, run)

        claimed = await self._databases.write(tenant, work, short=True)
        passing("claim.after")
        return claimed

    async def _comes_to_own_code(self, db: Connection, row: Row) -> bool:
        """Return whether own code is known to serve a run, and not here; any other says so once it comes to some."""
        if self._own_code:
            return False
        return not registered().keys().isdisjoint({row.agent, *await store.handed_over_to(db, row)})

    async def _taken(self, tenant: str, row: Row, holds: Callable[[], bool]) -> str:
        """Take a claimed run as far as it goes, and return the status that it has then."""
        log = logger.bind(tenant=tenant, run=row.id, agent=row.agent)
        found = _Found(budgets=[Budget.model_validate(row.budget or {})])
        try:
            await self._databases.read(tenant, lambda db: found.read(db, row), short=_is_new(row))
            seconds = found.longest if found.left is None else found.left
            if self._bounded is not None:
                self._bounded(seconds)
            with anyio.fail_after(seconds):
                return await self._graph(tenant, row, found, holds)
        except TimeoutError:
            return await self._late(tenant, row, found)
        except Paused:
            return await self._end(tenant, row, "interrupted", interrupt={"kind": PAUSE})
        except (Fenced, Apart):
            raise
        except Unavailable as error:
            if _age(row) < AWAY_SECONDS:
                raise  # what is away now may be back at the next look
            return await self._end(tenant, row, "error", error={"code": error.code, "message": error.message})
        except TauseError as error:
            log.warning("run failed", code=error.code, reason=error.message)
            where = error.data if isinstance(error, AgentFailed) else {}
            return await self._end(tenant, row, "error", error={"code": error.code, "message": error.message, **where})
        except BudgetExceeded as error:
            log.info("run is over its budget", kind=error.budget)
            return await self._unfinished(tenant, row, "error", error.told())
        except GraphRecursionError:
            text = "The run went in circles, and was ended"
            return await self._unfinished(tenant, row, "error", {"code": "too_many_steps", "message": text})
        except AgentRunError as error:
            failed = told(error)
            log.warning("model failed", kind=failed["kind"], reason=failed["message"])
            return await self._unfinished(tenant, row, "error", failed)
        except Exception:
            log.exception("run broke")
            text = f"Something went wrong on our side; it is in the log under {row.id}"
            return await self._end(tenant, row, "error", error={"code": "internal_error", "message": text})

    async def _end(self, tenant: str, row: Row, status: str, journal: Journal | None = None, **values: Any) -> str:
        passing("end.before")
        if journal is not None:
            await journal.end(status, **values)
        else:
            await self._databases.write(tenant, lambda db: store.end_run(db, row.id, row.fence, status, **values))
        passing("end.after")
        never_stopped = status == "success" and row.fence == FIRST
        if status in ENDED and not never_stopped:
            await self._checkpoints.forget(tenant, row.id)
        return status

    async def _unfinished(self, tenant: str, row: Row, status: str, error: dict[str, Any]) -> str:
        """End a run early, with what it has."""
        async with self._databases.transaction(tenant) as db:
            output = so_far(await store.journal_of(db, row.id), language(row.input))
            await store.end_run(db, row.id, row.fence, status, error=error, output=output, interrupt=None)
        await self._checkpoints.forget(tenant, row.id)
        return status

    async def _late(self, tenant: str, row: Row, found: _Found) -> str:
        """End a run whose time is up: one with a budget of seconds is over it, any other took too long."""
        given = [budget.seconds for budget in found.budgets if budget.seconds is not None]
        if found.left is None:
            late = {"code": "timeout", "message": "The run took too long"}
            return await self._unfinished(tenant, row, "timeout", late)
        return await self._unfinished(tenant, row, "error", BudgetExceeded("seconds", min(given), min(given)).told())

    async def _graph(self, tenant: str, row: Row, found: _Found, holds: Callable[[], bool]) -> str:
        acting = Principal(tenant=tenant, id=row.principal, scopes=frozenset(row.scopes), agent=row.agent, run=row.id)

        def ring() -> None:
            self._bell.ring(tenant, row.id, stops=False)

        journal = Journal(self._databases, tenant, row.id, row.fence, on_write=ring, holds=holds, tracing=self._tracing)
        journal.know(found.lines, found.last_event)
        rate = Rate.of(os.environ)
        for budget in found.budgets:
            check(budget, rate)
        spending = Spending(found.budgets, rate)
        spending.count(found.lines)
        spending.count_below(found.below)
        company = Company(
            self._databases, self._gateway, journal, acting, row, spending, found.known, own_code=self._own_code
        )
        graph = RunGraph(company)
        if row.pausing:
            raise Paused(row.id)
        place = graph.config(config(tenant, row.id))
        async with self._checkpoints.of_run(tenant, row.id, row.fence, journal.flush) as saver:
            compiled = graph.compiled(saver)
            stopped = await compiled.aget_state(place)
            given: Any = None
            used: dict[str, Any] | None = None
            state: dict[str, Any] = stopped.values
            if state.get("run") != row.id:
                # Begun, or begun anew: what the journal has is gone through again, and nothing of it is done again.
                duty = Duty(agent=row.agent, version=row.version)
                given = initial(row.id, row.input, duty, await self._past(tenant, row, found.past, company, duty))
            else:
                company.remember(state.get("summary", ""))
                graph.see(stopped.values)
                held = stopped.interrupts[0].value if stopped.interrupts else None
                if held is not None:
                    used = await self._decision(tenant, row, held)
                    if used is None:
                        return await self._interrupted(tenant, row, held, used=None)
                    # A graph of own code may come to wait in another order: each decision says what it is about.
                    about = held.get("asked") or held.get("call")
                    given = Command(resume={stopped.interrupts[0].id: {**used, "about": about}})
            # `next` says nothing here: it is empty too where a node's writes were kept but not its checkpoint.
            if given is not None or not state.get("answered"):
                try:
                    state = await compiled.ainvoke(given, place, durability="exit")
                except BaseException:
                    await journal.flush()
                    raise
        if state.get("answered"):
            ended = {"output": state["answer"], "structured": state.get("structured"), "interrupt": None}
            return await self._end(tenant, row, "success", journal, **ended)
        await journal.flush()
        return await self._interrupted(tenant, row, state["__interrupt__"][0].value, used=used)

    async def _decision(self, tenant: str, row: Row, held: dict[str, Any]) -> dict[str, Any] | None:
        """Return the decision on what the graph waits for, where that is also what the run was said to wait for."""
        if held != row.interrupt:
            return None
        async with self._databases.reading(tenant) as db:
            return await store.decision_on(db, row)

    async def _past(self, tenant: str, row: Row, past: Past, company: Company, duty: Duty) -> Past:
        """Return what came before a run in its thread, of which the earlier turns are folded where they are many."""
        if past.foldable:
            summary = await company.condense(past, duty)
            async with self._databases.transaction(tenant) as db:
                await threads.keep_summary(db, row.thread, summary, past.begun[past.foldable - 1])
            past = Past(summary, past.turns[past.foldable :], past.begun[past.foldable :])
        company.remember(past.summary)
        return past

    async def _interrupted(
        self, tenant: str, row: Row, interrupt: dict[str, Any], *, used: dict[str, Any] | None
    ) -> str:
        """Let the run wait. A decision that came early is kept; one that was used already decides nothing more."""
        if (when := expiring.due(interrupt)) is not None:
            await self._timers.set(tenant, expiring.KIND, row.id, when)

        async def work(db: Connection) -> None:
            if used is not None and row.interrupt is not None and row.interrupt == interrupt:
                await store.forget_decision(db, row.id, subject(interrupt))
            await store.end_run(db, row.id, row.fence, "interrupted", interrupt=interrupt)

        passing("end.before")
        await self._databases.write(tenant, work)
        passing("end.after")
        return "interrupted"


def _is_new(row: Row) -> bool:
    """Return whether there is no more of a run than its row: no journal, no runs below it, nothing before it."""
    alone = row.thread == f"thread_{row.id.removeprefix('run_')}" and "fork" not in object_at(row.origin)
    return alone and row.fence == FIRST


def _age(row: Row) -> float:
    """Return how many seconds ago a run was claimed first."""
    return (datetime.now(UTC) - datetime.fromisoformat(row.started_at)).total_seconds()
