"""The agents server's tools that steer runs: pause, fork, replay."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tausestack.database import Connection, Row
from tausestack.errors import Conflict, Forbidden, Unavailable
from tausestack.mcp import Context, tool
from tausestack.raw import as_object
from tausestack.scopes import RUNS_WRITE, SYSTEM, within
from tausestack_agents import forking, replaying, store
from tausestack_agents.domain import PAUSE, run_id
from tausestack_agents.keeping import State
from tausestack_agents.own import Apart
from tausestack_agents.parameters import LINE, MAX_THREAD, RunId
from tausestack_agents.readers import READER, check_reader
from tausestack_agents.starting import check_room

Run = dict[str, Any]


@tool("agents/pause", side_effect="write", idempotent=True, scopes=[RUNS_WRITE])
async def pause(ctx: Context, run: RunId) -> Run:
    """Stop a run before its next call; what is under way comes to its end, and `resume` lets it go on."""
    state: State = ctx.state
    async with ctx.database() as db:
        found = await store.get_run(db, run)
        paused = found.status == "interrupted" and (as_object(found.interrupt) or {}).get("kind") == PAUSE
        if not paused and not await store.ask_to_pause(db, run):
            raise Conflict(f"The run does not go on by itself: it is {found.status}", status=found.status)
    state.bell.ring(ctx.tenant, run)
    async with ctx.reading() as db:
        return store.shape(await store.get_run(db, run), await store.journal_of(db, run))


@tool("agents/fork", side_effect="write", scopes=[RUNS_WRITE])
async def fork(
    ctx: Context,
    run: RunId,
    checkpoint: Annotated[
        str | None,
        Field(
            description="A `call` that the run's events name: all that was done before it is kept, and it and what "
            "followed is done anew. Left out, all of it.",
            max_length=400,
            pattern=LINE,
            examples=["step-1/model-0"],
        ),
    ] = None,
    thread: Annotated[
        str | None,
        Field(
            description="The new run's conversation; left out, a new one begins, with the past of the run's own.",
            max_length=MAX_THREAD,
            pattern=LINE,
        ),
    ] = None,
) -> Run:
    """Start a run that has done what another one did up to a checkpoint, and goes on from there by itself."""
    state: State = ctx.state
    if ctx.principal.agent is not None:
        raise Forbidden("An agent forks no runs: those that it starts stay below its own")
    if state.worker is None:
        raise Unavailable("The agents service runs alone: without a gateway its agents can do nothing")
    identifier = run_id(ctx.tenant, ctx.principal.id, ctx.idempotency_key)

    async def forked(db: Connection) -> Row | None:
        """Return the run that is to be forked, None where that was done; raises where it can't be."""
        if await store.find_run(db, identifier) is not None:
            return None
        source = await store.get_run(db, run)
        await forking.check(db, source, checkpoint)
        await check_room(ctx, db)
        if thread is not None and (active := await store.active_run(db, thread)) is not None:
            raise Conflict(f"The thread has a run that has not ended: {active}", run=active)
        return source

    # Looked at first: work whose run never comes into being is looked for again and again.
    await state.databases.read(ctx.tenant, forked)
    await state.dispatch.add(ctx.tenant, identifier)
    async with state.databases.transaction(ctx.tenant) as db:
        if (source := await forked(db)) is not None:
            values: dict[str, Any] = {
                "id": identifier,
                "thread": thread or f"thread_{identifier.removeprefix('run_')}",
                "principal": ctx.principal.id,
                "scopes": sorted(within(ctx.principal.limits) - {SYSTEM}),
            }
            await forking.fork(db, source, checkpoint, values)
    await state.make_due(ctx.tenant, identifier)
    async with ctx.reading() as db:
        return store.shape(await store.get_run(db, identifier), await store.journal_of(db, identifier))


@tool("agents/replay", side_effect="read", scopes=[READER])
async def replay(ctx: Context, run: RunId) -> dict[str, Any]:
    """Go through a run again by its journal alone, calling nothing; fails where the code goes another way by now."""
    check_reader(ctx.principal)
    state: State = ctx.state
    if state.rooms is None:
        return await replaying.replay(state.databases, ctx.tenant, run)
    try:
        return await replaying.replay(state.databases, ctx.tenant, run, own_code=False)
    except Apart:
        return await state.rooms.replay(ctx.tenant, run)


TOOLS = (pause, fork, replay)
