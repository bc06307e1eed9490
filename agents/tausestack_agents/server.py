"""The agents server: runs started, followed, decided on and cancelled."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tausestack.contract import VERSION
from tausestack.database import Connection
from tausestack.errors import Conflict, InvalidArguments, KeyReused, NotFound, Unavailable
from tausestack.limits import month, until_month_end
from tausestack.mcp import Context, Server, Service
from tausestack.scopes import ANY, RUNS_WRITE, SYSTEM, TOOLS_READ
from tausestack_agents import specs, store
from tausestack_agents.bell import Bell
from tausestack_agents.budget import Budget
from tausestack_agents.checkpoints import Checkpoints
from tausestack_agents.dispatch import Dispatch
from tausestack_agents.domain import ENDED, Decision, RunStatus, parse_decision, run_id
from tausestack_agents.execution import Executor
from tausestack_agents.following import follow
from tausestack_agents.gateway import connected
from tausestack_agents.keeping import RunsKeeper, State
from tausestack_agents.models import Wanted, choose
from tausestack_agents.spending import Rate, check
from tausestack_agents.tables import SCHEMA
from tausestack_agents.worker import Worker, working

MAX_INPUT = 20_000
MAX_WAIT_SECONDS = 110.0

Run = dict[str, Any]
# No NUL in what is kept: PostgreSQL's text can't hold one.
RunId = Annotated[
    str, Field(description="The run's id.", pattern=r"^[^\x00-\x1f]*$", examples=["run_0a1b2c3d4e5f60718293"])
]


@asynccontextmanager
async def _lifespan(service: Service) -> AsyncGenerator[State]:
    databases, env = service.tenant_databases(), service.env
    bell, dispatch, checkpoints = Bell(), Dispatch(databases), Checkpoints(env.data, env.database_url)
    if env.gateway is None or env.process_credential is None:
        yield State(databases, bell, dispatch, checkpoints, None)
        return
    async with connected(env.gateway, env.process_credential) as gateway:
        worker = Worker(dispatch, Executor(databases, gateway, checkpoints, bell))
        async with working(worker):
            yield State(databases, bell, dispatch, checkpoints, worker)


server = Server(
    "agents",
    version=VERSION,
    title="Agents",
    description="Durable runs of agents that use the tenant's tools under the rights of whoever started them.",
    schema=SCHEMA,
    lifespan=_lifespan,
)
server.keep(RunsKeeper())


@server.tool("agents/run", side_effect="write", scopes=[RUNS_WRITE])
async def run(
    ctx: Context,
    agent: Annotated[str, Field(description="The agent's name.", examples=["concierge"])],
    input: Annotated[
        str,
        Field(
            description="What is asked for, in the words of whoever asks.", max_length=MAX_INPUT, pattern=r"^[^\x00]*$"
        ),
    ],
    thread: Annotated[
        str | None,
        Field(
            description="A conversation to go on with; left out, a new one begins.",
            max_length=120,
            pattern=r"^[^\x00-\x1f]*$",
        ),
    ] = None,
    wait: Annotated[
        float, Field(description="How many seconds to wait for the run to end or to need a decision.", ge=0)
    ] = 0,
    budget: Annotated[
        Budget | None,
        Field(description="What the run may use at most, beside its agent's own budget.", examples=[{"tokens": 20000}]),
    ] = None,
    model: Annotated[
        Wanted | None,
        Field(description="Whether to think offline, with recorded answers or with the live model; for evaluations."),
    ] = None,
) -> Run:
    """Start a run of an agent and return it; it goes on by itself until it ends or needs a decision."""
    state = _state(ctx)
    if state.worker is None:
        raise Unavailable("The agents service runs alone: without a gateway its agents can do nothing")
    spec = specs.agent(agent)
    if not input.strip():
        raise InvalidArguments("The input is empty")
    if budget is not None:
        check(budget, Rate.of(os.environ))
    choose(spec.model, spec.fallbacks, model, os.environ)
    identifier = run_id(ctx.tenant, ctx.principal.id, ctx.idempotency_key)
    values: dict[str, Any] = {
        "id": identifier,
        "agent": spec.name,
        "thread": thread or f"thread_{identifier.removeprefix('run_')}",
        "input": input,
        "budget": None if budget is None else budget.model_dump(mode="json", exclude_none=True),
        "model": model,
        "principal": ctx.principal.id,
        "scopes": sorted(ctx.principal.scopes - {SYSTEM}),
    }
    async with state.databases.reading(ctx.tenant) as db:
        if await store.find_run(db, identifier) is None:
            await _check_room(ctx, db)
    # First the work, then the run: work without a run is dropped, but a run without work would never start.
    await state.dispatch.add(ctx.tenant, identifier)
    async with state.databases.transaction(ctx.tenant) as db:
        known = await store.find_run(db, identifier)
        if known is None:
            active = await store.active_run(db, values["thread"])
            if active is not None:
                raise Conflict(f"The thread has a run that has not ended: {active}", run=active)
            await _check_room(ctx, db)
            await store.add_run(db, values)
        elif any(getattr(known, name) != values[name] for name in ("agent", "thread", "input")):
            raise KeyReused("This idempotency key was used for another run", key=ctx.idempotency_key)
    state.worker.wake()
    return await _settled(ctx, identifier, wait)


@server.tool("agents/resume", side_effect="write", scopes=[RUNS_WRITE])
async def resume(
    ctx: Context,
    run: RunId,
    decision: Annotated[
        dict[str, Any],
        Field(
            description="What was decided on the call that the run waits for.",
            examples=[{"approve": True}, {"approve": False, "reason": "too dear"}, {"arguments": {}}],
        ),
    ],
    wait: Annotated[float, Field(description="How many seconds to wait for the run to end.", ge=0)] = 0,
    call: Annotated[
        str | None,
        Field(
            description="The `call` that the decision is about; where the run waits for another, it is refused.",
            max_length=400,
        ),
    ] = None,
) -> Run:
    """Decide on the call that a run waits for: approve it, reject it, or approve it with other arguments."""
    state = _state(ctx)
    decided = parse_decision(decision)
    async with state.databases.reading(ctx.tenant) as db:
        found = await store.get_run(db, run)
    if found.status != "interrupted" or found.interrupt is None:
        raise Conflict(f"The run waits for nothing: it is {found.status}", status=found.status)
    if call is not None and found.interrupt.get("call") != call:
        raise Conflict("The run waits for something else by now", call=found.interrupt.get("call"))
    approval = found.interrupt.get("approval")
    if approval is not None:
        # As the person who decides; the gateway then wakes the run.
        asked: dict[str, Any] = {
            "id": approval,
            "decision": "approve" if decided.approve else "reject",
            "reason": decided.reason,
        }
        if decided.arguments is not None:
            asked["arguments"] = decided.arguments
        await ctx.call("platform/decide_approval", asked)
    await _decide(ctx, state, run, Decision(decided.approve, decided.reason, decided.arguments, approval))
    return await _settled(ctx, run, wait)


@server.tool("agents/wake", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def wake(
    ctx: Context,
    run: str,
    approval: str | None = None,
    decision: Literal["approve", "reject"] | None = None,
    arguments: dict[str, Any] | None = None,
    reason: str = "",
) -> dict[str, bool]:
    """Let a run go on, with the decision that was taken on an approval."""
    state = _state(ctx)
    if decision is None:
        await _make_due(ctx, state, run)
        return {"woken": True}
    decided = Decision(decision == "approve", reason, arguments, approval)
    return {"woken": await _decide(ctx, state, run, decided)}


@server.tool("agents/cancel", side_effect="write", idempotent=True, scopes=[RUNS_WRITE])
async def cancel(
    ctx: Context,
    run: RunId,
) -> Run:
    """Stop a run; what it has done already stays done."""
    state = _state(ctx)
    async with state.databases.transaction(ctx.tenant) as db:
        found = await store.get_run(db, run)
        await store.cancel_run(db, run)
    if state.worker is not None:
        state.worker.cancel(ctx.tenant, run)
    state.bell.ring(ctx.tenant, run)
    if found.interrupt is not None and found.interrupt.get("approval") is not None:
        await ctx.call("platform/withdraw_approvals", {"run": run})
    return await _shown(ctx, run)


@server.tool("agents/get_run", side_effect="read", scopes=[ANY])
async def get_run(
    ctx: Context,
    run: RunId,
) -> Run:
    """Show a run: its status, steps, cost, what it waits for, and its answer."""
    return await _shown(ctx, run)


@server.tool("agents/list_runs", side_effect="read", scopes=[ANY])
async def list_runs(
    ctx: Context,
    limit: Annotated[int, Field(description="At most so many.", ge=1, le=200)] = 50,
    status: Annotated[RunStatus | None, Field(description="Only runs of this status.")] = None,
) -> dict[str, list[Run]]:
    """List the tenant's runs, newest first."""
    async with _state(ctx).databases.reading(ctx.tenant) as db:
        rows = await store.list_runs(db, limit=limit, status=status)
        return {"runs": [store.shape(row, await store.journal_of(db, row.id)) for row in rows]}


@server.tool("agents/list_agents", side_effect="read", scopes=[TOOLS_READ])
async def list_agents(ctx: Context) -> dict[str, list[dict[str, Any]]]:
    """List the agents that can be run, with what they may use."""
    return {"agents": [spec.as_json() for spec in specs.builtin().values()]}


@server.tool("agents/limits_used", side_effect="read", scopes=[SYSTEM])
async def limits_used(ctx: Context) -> dict[str, int]:
    """Tell how much the tenant uses of the limits that are counted here."""
    async with _state(ctx).databases.reading(ctx.tenant) as db:
        return {"runs": await store.count_runs(db, month(datetime.now(UTC)))}


@server.http("runs/{run}/events")
async def run_events(request: Request, ctx: Context) -> Response:
    """Follow a run's events; `Last-Event-ID` says which came last."""
    identifier = str(request.path_params["run"])
    async with _state(ctx).databases.reading(ctx.tenant) as db:
        if await store.find_run(db, identifier) is None:
            raise NotFound("There is no such run, or it is not yours")
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 12 else 0
    stream = follow(_state(ctx).databases, _state(ctx).bell, ctx.tenant, identifier, after)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _check_room(ctx: Context, db: Connection) -> None:
    """Raise `RateLimited` where the tenant has had as many runs this month as it may have."""
    now = datetime.now(UTC)
    started = await store.count_runs(db, month(now))
    ctx.check_limit("runs", "runs of agents a month", started, retry_after=until_month_end(now))


def _state(ctx: Context) -> State:
    state: State = ctx.state
    return state


async def _decide(ctx: Context, state: State, identifier: str, decision: Decision) -> bool:
    """Keep a decision, and have the run looked at."""
    async with state.databases.transaction(ctx.tenant) as db:
        kept = await store.decide(db, identifier, decision.as_json())
    if not kept:
        return False
    await _make_due(ctx, state, identifier)
    return True


async def _make_due(ctx: Context, state: State, identifier: str) -> None:
    """Have a run looked at: by this process's worker at once, where it has one."""
    await state.dispatch.add(ctx.tenant, identifier)
    if state.worker is not None:
        state.worker.wake()


async def _settled(ctx: Context, identifier: str, wait: float) -> Run:
    """Return a run once it has ended or waits for a decision, or as it is when the time is up."""
    bell = _state(ctx).bell
    deadline = time.monotonic() + min(wait, MAX_WAIT_SECONDS)
    while True:
        shown = await _shown(ctx, identifier)
        left = deadline - time.monotonic()
        if left <= 0 or shown["status"] in {*ENDED, "interrupted"}:
            return shown
        await bell.wait(ctx.tenant, identifier, min(left, 0.5))


async def _shown(ctx: Context, identifier: str) -> Run:
    async with _state(ctx).databases.reading(ctx.tenant) as db:
        row = await store.get_run(db, identifier)
        shown = store.shape(row, await store.journal_of(db, identifier))
    if row.status == "interrupted" and store.decided(row):
        # It is on its way again: the decision is there, the worker has yet to take it up.
        shown["status"] = "running"
        del shown["interrupt"]
    return shown
