"""Starting runs on behalf of a call, and showing how they stand."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tausestack.agents import Budget
from tausestack.database import Connection, Row
from tausestack.errors import Conflict, InvalidArguments, KeyReused, Unavailable
from tausestack.limits import month, until_month_end
from tausestack.mcp import Context
from tausestack.raw import object_at
from tausestack.scopes import SYSTEM, within
from tausestack_agents import specs, store
from tausestack_agents.company import rules_of
from tausestack_agents.domain import ENDED, PAUSE, WAITS_FOR_RUN, message_run_id, run_id
from tausestack_agents.failpoints import passing
from tausestack_agents.keeping import State
from tausestack_agents.models import choose
from tausestack_agents.schedules import KIND as SCHEDULE
from tausestack_agents.spending import BudgetExceeded, Rate, Spending, check

MAX_WAIT_SECONDS = 110.0
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.5, 4.0
"""How long the bell is waited for before a run is looked at anyway: another process may work on it. Doubled in vain."""
MAX_CONTEXT = 64 * 1024
MAX_DEPTH = 3
"""How deep runs may start runs."""
MAX_TURNS_WAITING = 20
"""How many messages from outside may wait in a thread for the turns before them."""
MAX_BELOW = 50
"""How many runs one run may start, with all that those start."""

_GOES_ON = "It goes on by itself: agents/get_run with this id and a `wait` shows it once it ended or needs a person"
_NEXT = {
    "approval": "A person has to decide: agents/resume with this id and a decision, or the approval itself",
    "decision": "A person has to say whether to repeat the call: agents/resume with this id and a decision",
    "input": 'A person has to answer: agents/resume with this id and the decision {"input": "…"}',
    PAUSE: "It was paused: agents/resume with this id lets it go on",
}
"""What whoever started a run can do about it, by what it waits for."""

Run = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: an agent, or what stands in an agent's place where `kind` says so."""

    agent: str
    input: str
    thread: str | None = None
    kind: str | None = None
    budget: Budget | None = None
    model: str | None = None
    context: dict[str, Any] | None = None
    """What whoever asks knows already: told to the agent as facts, never as something that is asked."""
    message: str | None = None
    """The id of a message from outside: in its thread it is handled once."""


async def start(ctx: Context, asked: Asked, wait: float) -> Run:
    """Start a run and return it once it has ended or waits for a person, or as it is when the time is up.

    One that an agent starts in a run of its own is held to what that run may do, and to its approvals.
    """
    state = state_of(ctx)
    if state.worker is None:
        raise Unavailable("The agents service runs alone: without a gateway its agents can do nothing")
    if not asked.input.strip():
        raise InvalidArguments("The input is empty")
    if asked.context is not None and len(json.dumps(asked.context)) > MAX_CONTEXT:
        raise InvalidArguments(f"The context is too large: {MAX_CONTEXT // 1024} KiB as JSON are the most")
    if asked.message is None:
        identifier = run_id(ctx.tenant, ctx.principal.id, ctx.idempotency_key)
    elif asked.thread is None:
        raise InvalidArguments("A message is of a thread: say which")
    else:
        identifier = message_run_id(ctx.tenant, asked.thread, asked.message)
    values: dict[str, Any] = {
        "id": identifier,
        "agent": asked.agent,
        "thread": asked.thread or f"thread_{identifier.removeprefix('run_')}",
        "input": asked.input,
        "kind": asked.kind,
        "context": asked.context,
        "model": asked.model,
        "principal": ctx.principal.id,
        "scopes": sorted(within(ctx.principal.limits) - {SYSTEM}),
        "origin": origin_of(ctx, asked.message),
    }
    if asked.budget is not None:
        check(asked.budget, Rate.of(os.environ))

    async def accept(db: Connection) -> None:
        known = await store.find_run(db, identifier)
        if known is None:
            await _take_turn(db, values["thread"], asked.message)
            await check_room(ctx, db)
            pinned = await specs.pin(db, asked.agent)
            origin = await _origin(ctx, db, asked.budget)
            rules = rules_of(pinned.spec, origin.pop("rules", None), await specs.allowed(db))
            await store.add_run(db, {**values, **origin, "version": pinned.version, "rules": rules})
        elif any(getattr(known, name) != values[name] for name in ("agent", "thread", "input", "kind")):
            raise KeyReused("This key, or message, was used for another run", key=asked.message or ctx.idempotency_key)

    await state.databases.read(ctx.tenant, lambda db: _may_start(ctx, db, identifier, values["thread"], asked))
    # First the work, then the run: work without a run is dropped, but a run without work would never start.
    passing("accept.before")
    await state.dispatch.add(ctx.tenant, identifier)
    passing("accept.between")
    await state.databases.write(ctx.tenant, accept)
    passing("accept.after")
    state.worker.wake()
    # One that a run starts is waited for by the run itself, which keeps no worker busy with that.
    return await settled(ctx, identifier, wait if ctx.principal.run is None else 0)


async def _take_turn(db: Connection, thread: str, message: str | None) -> None:
    """Raise `Conflict` where a thread's turn can't be taken: a message from outside waits for it, nobody else does."""
    active = await store.active_run(db, thread)
    if active is None:
        return
    if message is None:
        found = await store.get_run(db, active)
        text = f"The thread has a run that has not ended: {active} ({found.status}). One with a `message` id waits"
        raise Conflict(text, reason="thread_busy", run=active)
    if len(await store.turns_waiting(db, thread)) >= MAX_TURNS_WAITING:
        text = f"{MAX_TURNS_WAITING} turns of the thread wait already for the run {active}"
        raise Conflict(text, reason="thread_full", run=active)


async def _may_start(ctx: Context, db: Connection, identifier: str, thread: str, asked: Asked) -> None:
    """Raise where a run that is not there yet can't be started, before there is any work for it."""
    if await store.find_run(db, identifier) is None:
        await _take_turn(db, thread, asked.message)
        spec = (await specs.find(db, asked.agent)).spec
        choose(spec.model, spec.fallbacks, asked.model, os.environ)
        await check_room(ctx, db)


async def _origin(ctx: Context, db: Connection, budget: Budget | None) -> dict[str, Any]:
    """Return where a run comes from, and what it may use: no more than is left of a run that starts it."""
    if ctx.principal.run is None or ctx.principal.agent == SCHEDULE:
        return {"budget": _kept(budget)}
    parent = await store.get_run(db, ctx.principal.run)
    if parent.status in ENDED:
        raise Conflict("The run that starts this one has ended")
    depth, root = (parent.depth or 0) + 1, parent.root or parent.id
    if depth > MAX_DEPTH:
        raise Conflict(f"Runs may start runs {MAX_DEPTH} deep, and no deeper")
    if await store.count_below(db, root) >= MAX_BELOW:
        raise Conflict(f"A run may start {MAX_BELOW} runs, those that they start among them, and no more")
    spec = await specs.pinned(db, parent.agent, parent.version)
    spending = Spending([Budget.model_validate(parent.budget or {}), spec.budget], Rate.of(os.environ))
    spending.count(await store.journal_of(db, parent.id))
    spending.count_below(await store.journals_below(db, parent.id))
    if budget is not None:
        spending.hold(budget)
    try:
        left = spending.left()
    except BudgetExceeded as error:
        raise Conflict(f"The run that starts this one has nothing left: {error}") from error
    return {
        "parent": parent.id,
        "root": root,
        "depth": depth,
        "rules": parent.rules,
        "budget": _kept(left),
        "model": parent.model,
    }


def _kept(budget: Budget | None) -> dict[str, Any] | None:
    return None if budget is None else budget.model_dump(mode="json", exclude_none=True)


async def check_room(ctx: Context, db: Connection) -> None:
    """Raise `RateLimited` where the tenant has had as many runs this month as it may have."""
    now = datetime.now(UTC)
    started = await store.count_runs(db, month(now))
    ctx.check_limit("runs", "runs of agents a month", started, retry_after=until_month_end(now))


def state_of(ctx: Context) -> State:
    """Return what the service's calls share."""
    state: State = ctx.state
    return state


async def settled(ctx: Context, identifier: str, wait: float) -> Run:
    """Return a run once it has ended or waits for a person, or as it is when the time is up.

    It is read whole when it may have stopped; for a caller that is told of progress its steps are counted at each ring.
    """
    state, follows, told = state_of(ctx), ctx.follows and wait > 0, -1
    # On SQLite all workers are in this process, and ring.
    pause = LONGEST_LOOK_SECONDS if state.databases.in_files else LOOK_SECONDS
    deadline = time.monotonic() + min(wait, MAX_WAIT_SECONDS)
    while True:
        now = await state.databases.read(
            ctx.tenant, lambda db: store.standing(db, identifier, counted=follows), short=not follows
        )
        told = await _progress(ctx, now, told) if follows else told
        left = deadline - time.monotonic()
        if left <= 0 or now.status in {*ENDED, "interrupted"}:
            found = await shown(ctx, identifier)
            if left <= 0 or found["status"] in {*ENDED, "interrupted"}:
                return found
        if now.status == "interrupted":
            pause = LOOK_SECONDS  # it waits for another run, whose own bell is rung
        rung = await state.bell.wait(ctx.tenant, identifier, min(left, pause), for_stop=not follows)
        pause = LOOK_SECONDS if rung else min(pause * 2, LONGEST_LOOK_SECONDS)


async def _progress(ctx: Context, now: store.Standing, told: int) -> int:
    """Tell how many calls of a run have ended, where these are more than were told."""
    if now.ended > told:
        await ctx.progress(now.ended, None, now.last or now.status)
    return max(told, now.ended)


def origin_of(ctx: Context, message: str | None) -> dict[str, Any] | None:
    """Return what a run began by, where that is a message or a schedule, and the trace that it goes on in."""
    found: dict[str, Any] = {}
    if message is not None:
        found["message"] = message
    elif ctx.principal.agent == SCHEDULE and ctx.principal.run is not None:
        found["schedule"] = ctx.principal.run.removeprefix(f"{SCHEDULE}:")
    if ctx.traceparent is not None:
        found[store.TRACE] = ctx.traceparent
    return found or None


async def shown(ctx: Context, identifier: str) -> Run:
    """Return a run as the doors show it; it waits for a person where a run that it started does.

    `behind` is the earlier turn that a message from outside waits for; `next` says how to come back to a run that has
    not ended.
    """

    async def look(db: Connection) -> tuple[Row, Run, Row | None]:
        row = await store.get_run(db, identifier)
        waiting = await waits(db, row) if row.status == "interrupted" else None
        found = store.shape(row, await store.journal_of(db, identifier))
        if row.status == "pending" and (before := await store.ahead(db, row)) is not None:
            found["behind"] = before
        return row, found, waiting

    row, found, waiting = await state_of(ctx).databases.read(ctx.tenant, look)
    if row.status == "interrupted" and waiting is None:
        # It is on its way again: the decision is there and the worker has yet to take it up, or another run works.
        found["status"] = "running"
        del found["interrupt"]
    elif waiting is not None and waiting.id != row.id:
        found["interrupt"] = {**waiting.interrupt, "run": waiting.id}
    if found["status"] not in ENDED:
        found["next"] = _NEXT.get(str(object_at(found, "interrupt").get("kind", "")), _GOES_ON)
    return found


async def waits(db: Connection, row: Row) -> Row | None:
    """Return the run that waits for a person: this one, or one that it started and waits for; None where none does."""
    while row.status == "interrupted" and row.interrupt is not None:
        if row.interrupt["kind"] != WAITS_FOR_RUN:
            return row if await store.decision_on(db, row) is None else None
        below = await store.find_run(db, str(row.interrupt["run"]))
        if below is None:
            return None
        row = below
    return None
