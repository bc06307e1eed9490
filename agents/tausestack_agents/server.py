"""The agents server: runs started, followed, decided on and cancelled."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tausestack.agents import Budget
from tausestack.contract import VERSION
from tausestack.database import Row
from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound
from tausestack.limits import month
from tausestack.mcp import Context, Server, Service
from tausestack.raw import MAX_DIGITS, number_of
from tausestack.scopes import RUNS_WRITE, SYSTEM
from tausestack_agents import (
    agent_tools,
    asking,
    control_tools,
    own,
    schedule_tools,
    store,
    summaries,
    team_tools,
    thread_tools,
)
from tausestack_agents.apart.living import living
from tausestack_agents.apart.rooms import Rooms, rooms
from tausestack_agents.bell import Bell
from tausestack_agents.checkpoints import Checkpoints
from tausestack_agents.dispatch import Dispatch
from tausestack_agents.domain import PAUSE, Decision, RunStatus, check_fits, parse_decision, subject
from tausestack_agents.execution import Executor
from tausestack_agents.following import LAST_EVENT, follow
from tausestack_agents.gateway import connected
from tausestack_agents.keeping import RunsKeeper, State
from tausestack_agents.looks import looks
from tausestack_agents.models import Wanted
from tausestack_agents.parameters import LINE, MAX_INPUT, TEXT, WAIT_SECONDS, Facts, RunId, Thread, Wait
from tausestack_agents.readers import READER, check_reader
from tausestack_agents.starting import Asked, Run, settled, shown, start, state_of, waits
from tausestack_agents.stopping import stop
from tausestack_agents.tables import SCHEMA
from tausestack_agents.timers import Timers, looking
from tausestack_agents.waiting import followed
from tausestack_agents.worker import Worker, working


@asynccontextmanager
async def _lifespan(service: Service) -> AsyncGenerator[State]:
    databases, env = service.tenant_databases(), service.env
    bell, dispatch = Bell(), Dispatch.of(databases, os.environ)
    async with AsyncExitStack() as stack:
        apart: Rooms | None = None
        if own.named(os.environ) and env.gateway is not None and env.process_credential is not None:

            def ring(tenant: str, run: str, stops: bool) -> None:
                bell.ring(tenant, run, stops=stops)

            apart = await stack.enter_async_context(rooms(lambda: own.load(os.environ), living(env), ring))
        own.load(os.environ)
        checkpoints = Checkpoints(databases, env.data, env.database_url)
        timers = Timers(databases)
        if env.gateway is None or env.process_credential is None:
            yield State(databases, bell, dispatch, checkpoints, timers, None)
            return
        stack.push_async_callback(checkpoints.aclose)
        gateway = await stack.enter_async_context(connected(env.gateway, env.process_credential, service.tracing))
        executor = Executor(
            databases, gateway, checkpoints, bell, dispatch.add, timers, service.tracing, own_code=apart is None
        )
        worker = Worker(dispatch, executor, workers=int(os.environ.get("TAUSESTACK_WORKERS") or 1), rooms=apart)
        state = State(databases, bell, dispatch, checkpoints, timers, worker, gateway, apart)
        async with working(worker, env.database_url), looking(timers, looks(state, gateway)):
            yield state


server = Server(
    "agents",
    version=VERSION,
    title="Agents",
    description="Durable runs of agents that use the tenant's tools under the rights of whoever started them.",
    schema=SCHEMA,
    lifespan=_lifespan,
)
server.keep(RunsKeeper())


@server.tool("agents/run", side_effect="write", scopes=[RUNS_WRITE], task_support="optional")
async def run(
    ctx: Context,
    agent: Annotated[str, Field(description="The agent's name.", examples=["concierge"])],
    input: Annotated[
        str,
        Field(description="What is asked for, in the words of whoever asks.", max_length=MAX_INPUT, pattern=TEXT),
    ],
    thread: Thread = None,
    wait: Wait = WAIT_SECONDS,
    budget: Annotated[
        Budget | None,
        Field(description="What the run may use at most, beside its agent's own budget.", examples=[{"tokens": 20000}]),
    ] = None,
    model: Annotated[
        Wanted | None,
        Field(description="Whether to think offline, with recorded answers or with the live model; for evaluations."),
    ] = None,
    context: Facts = None,
    message: Annotated[
        str | None,
        Field(
            description="The id of a message that came in from outside: in its thread it is handled once.",
            min_length=1,
            max_length=200,
            pattern=LINE,
        ),
    ] = None,
) -> Run:
    """Start a run of an agent and return it once it ended or needs a person, or as it stands when the wait is over.

    It goes on by itself, whoever waits.
    """
    asked = Asked(agent, input, thread, context=context, budget=budget, model=model, message=message)
    if ctx.in_task:
        return await followed(ctx, (await start(ctx, asked, 0))["id"])
    return await start(ctx, asked, wait)


@server.tool("agents/resume", side_effect="write", scopes=[RUNS_WRITE])
async def resume(
    ctx: Context,
    run: RunId,
    decision: Annotated[
        dict[str, Any] | None,
        Field(
            description="What was decided on the call that the run waits for; a paused run needs none.",
            examples=[
                {"approve": True},
                {"approve": False, "reason": "too dear"},
                {"arguments": {}},
                {"input": "Yes."},
            ],
        ),
    ] = None,
    wait: Wait = WAIT_SECONDS,
    call: Annotated[
        str | None,
        Field(
            description="The `call` that the decision is about; where the run waits for another, it is refused.",
            max_length=400,
        ),
    ] = None,
) -> Run:
    """Let a run go on: approve, reject or edit the call that it waits for, answer, or end its pause."""
    given = None if decision is None else parse_decision(decision)
    if ctx.principal.agent is not None:
        raise Forbidden("An agent can't decide what a person is asked")
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        found = await store.get_run(db, run)
        waiting = await waits(db, found)
    if waiting is None or waiting.interrupt is None:
        raise Conflict(f"The run waits for nothing: it is {found.status}", status=found.status)
    if call is not None and waiting.interrupt.get("call") != call:
        raise Conflict("The run waits for something else by now", call=waiting.interrupt.get("call"))
    if waiting.interrupt["kind"] == PAUSE:
        if given is not None and replace(given, reason="") != Decision(approve=True):
            raise InvalidArguments("The run is paused, and waits for no decision: resume it without one, or cancel it")
        await _unpause(ctx, waiting.id)
        return await settled(ctx, run, wait)
    decided = given or parse_decision({})
    check_fits(decided, waiting.interrupt["kind"])
    approval = waiting.interrupt.get("approval")
    if approval is not None:
        # As the person who decides; the gateway then wakes the run.
        asked: dict[str, Any] = {
            "id": approval,
            "decision": "approve" if decided.approve else "reject",
            "reason": decided.reason,
        }
        if decided.arguments is not None:
            asked["arguments"] = decided.arguments
        answer = await ctx.call("platform/decide_approval", asked)
        if decided.arguments is not None:
            decided = replace(decided, arguments=answer["arguments"])
    elif decided.arguments is not None:
        decided = replace(decided, arguments=await _sealed(ctx, waiting, decided.arguments))
    about = subject(waiting.interrupt)
    await state_of(ctx).decide(ctx.tenant, waiting.id, about, replace(decided, approval=approval))
    return await settled(ctx, run, wait)


async def _sealed(ctx: Context, waiting: Row, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what a person made of a call in doubt, with the secrets among it sealed."""
    gateway = state_of(ctx).gateway
    if gateway is None:
        return arguments
    about = waiting.interrupt
    return await gateway.seal(ctx.tenant, str(waiting.id), f"{about['server']}/{about['tool']}", arguments)


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
    if decision is None or approval is None:
        await state_of(ctx).make_due(ctx.tenant, run)
        return {"woken": True}
    decided = Decision(decision == "approve", reason, arguments, approval)
    return {"woken": await state_of(ctx).decide(ctx.tenant, run, approval, decided)}


@server.tool("agents/cancel", side_effect="write", idempotent=True, scopes=[RUNS_WRITE])
async def cancel(
    ctx: Context,
    run: RunId,
) -> Run:
    """Stop a run; what it has done already stays done."""
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        await store.get_run(db, run)
    await stop(state_of(ctx), ctx.tenant, run, ctx.principal.id)
    return await shown(ctx, run)


@server.tool("agents/get_run", side_effect="read", scopes=[READER])
async def get_run(
    ctx: Context,
    run: RunId,
    wait: Wait = 0,
) -> Run:
    """Show a run: its status, steps, cost, what it waits for, and its answer; with `wait`, once it has one."""
    check_reader(ctx.principal)
    return await settled(ctx, run, wait)


@server.tool("agents/list_runs", side_effect="read", scopes=[READER])
async def list_runs(
    ctx: Context,
    limit: Annotated[int, Field(description="At most so many.", ge=1, le=200)] = 50,
    status: Annotated[RunStatus | None, Field(description="Only runs of this status.")] = None,
) -> dict[str, list[Run]]:
    """List the tenant's runs, newest first: how each stands, and of what is long the beginning; see `agents/get_run`.

    `truncated` names what is cut: arguments and results of its calls are in none.
    """
    check_reader(ctx.principal)
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        return {"runs": await summaries.listed(db, limit=limit, status=status)}


@server.tool("agents/limits_used", side_effect="read", scopes=[SYSTEM])
async def limits_used(ctx: Context) -> dict[str, int]:
    """Tell how much the tenant uses of the limits that are counted here."""
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        return {"runs": await store.count_runs(db, month(datetime.now(UTC)))}


@server.http("runs/{run}/events")
async def run_events(request: Request, ctx: Context) -> Response:
    """Follow a run's events; `Last-Event-ID` says which came last: beyond a run's end there is nothing more."""
    check_reader(ctx.principal)
    identifier = str(request.path_params["run"])
    async with state_of(ctx).databases.reading(ctx.tenant) as db:
        if await store.find_run(db, identifier) is None:
            raise NotFound("There is no such run, or it is not yours")
    last = request.headers.get("last-event-id", "")
    after = LAST_EVENT if len(last) > MAX_DIGITS else min(number_of(last) or 0, LAST_EVENT)
    stream = follow(state_of(ctx).databases, state_of(ctx).bell, ctx.tenant, identifier, after)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _unpause(ctx: Context, run: str) -> None:
    state = state_of(ctx)
    await state.dispatch.add(ctx.tenant, run)
    async with state.databases.transaction(ctx.tenant) as db:
        found = await store.get_run(db, run)
        if found.status == "interrupted" and found.interrupt is not None and found.interrupt["kind"] == PAUSE:
            await store.unpause(db, run)
    await state.make_due(ctx.tenant, run)


for _tool in (
    *agent_tools.TOOLS,
    *team_tools.TOOLS,
    *control_tools.TOOLS,
    *thread_tools.TOOLS,
    *schedule_tools.TOOLS,
):
    server.include(_tool)
asking.serve(server)
