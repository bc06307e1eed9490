"""The agents server's tools for threads: listed, read, deleted, pruned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import structlog
from pydantic import Field

from tausestack.errors import InvalidArguments, Unavailable
from tausestack.mcp import Context, tool
from tausestack.scopes import RUNS_WRITE, TENANT_ADMIN
from tausestack_agents import threads
from tausestack_agents.keeping import State
from tausestack_agents.parameters import LINE, MAX_THREAD
from tausestack_agents.readers import READER, check_reader

logger = structlog.get_logger("agents")

PRUNED_AT_ONCE = 50
MOST_DAYS = 36_500.0
"""Nothing is older; with more than the calendar has there is no such day."""

Thread = Annotated[
    str, Field(description="The thread's id.", pattern=LINE, max_length=MAX_THREAD, examples=["thread_0a1b2c"])
]
Limit = Annotated[int, Field(description="At most so many.", ge=1, le=200)]


@tool("agents/list_threads", side_effect="read", scopes=[READER])
async def list_threads(
    ctx: Context,
    limit: Limit = 50,
    before: Annotated[
        str | None, Field(description="Only those older than this `updated_at`, of the page before.", max_length=40)
    ] = None,
) -> dict[str, list[dict[str, Any]]]:
    """List the tenant's threads, the one with the newest turn first."""
    check_reader(ctx.principal)
    async with ctx.reading() as db:
        return {"threads": await threads.listed(db, limit=limit, before=_time(before))}


@tool("agents/get_thread", side_effect="read", scopes=[READER])
async def get_thread(
    ctx: Context,
    thread: Thread,
    limit: Limit = 50,
    before: Annotated[
        str | None, Field(description="Only turns older than this `created_at`, of the page after.", max_length=40)
    ] = None,
) -> dict[str, Any]:
    """Show a thread: its newest turns in order, and the summary of the earlier ones where there is one."""
    check_reader(ctx.principal)
    async with ctx.reading() as db:
        return await threads.history(db, thread, limit=limit, before=_time(before))


@tool("agents/delete_thread", side_effect="write", scopes=[RUNS_WRITE])
async def delete_thread(ctx: Context, thread: Thread) -> dict[str, Any]:
    """Delete a thread with its runs, their journal and events, for good; refused while one of its runs goes on."""
    async with ctx.database() as db:
        gone = await threads.forget(db, thread)
    await _forget_checkpoints(ctx.state, ctx.tenant, gone)
    return {"thread": thread, "runs": len(gone)}


@tool("agents/prune_threads", side_effect="write", idempotent=True, scopes=[TENANT_ADMIN])
async def prune_threads(
    ctx: Context,
    days: Annotated[float, Field(description="Threads are deleted whose last turn is older than this.", ge=0)],
) -> dict[str, int]:
    """Delete every thread that has been idle for so many days and whose runs have all ended."""
    return await prune(ctx.state, ctx.tenant, days)


async def prune(state: State, tenant: str, days: float) -> dict[str, int]:
    """Delete a tenant's idle threads, some at a time, and return how many there were."""
    since = (datetime.now(UTC) - timedelta(days=min(days, MOST_DAYS))).isoformat()
    counted = {"threads": 0, "runs": 0}
    while True:
        async with state.databases.reading(tenant) as db:
            found = await threads.idle(db, since, PRUNED_AT_ONCE)
        if not found:
            break
        gone: list[str] = []
        async with state.databases.transaction(tenant) as db:
            for thread in await threads.idle(db, since, PRUNED_AT_ONCE):
                gone += await threads.forget(db, thread)
                counted["threads"] += 1
        counted["runs"] += len(gone)
        await _forget_checkpoints(state, tenant, gone)
    if counted["runs"]:
        try:
            await state.databases.compact(tenant)
        except Unavailable as error:
            # What was to be deleted is: its room is used anew, and given back the next time.
            logger.warning("what was pruned keeps its room for now", tenant=tenant, reason=error.message)
    return counted


async def _forget_checkpoints(state: State, tenant: str, runs: list[str]) -> None:
    for run in runs:
        await state.checkpoints.forget(tenant, run)


def _time(given: str | None) -> str | None:
    """Return a time as it is kept, or raise `InvalidArguments`; a `+` that was not quoted has become a space."""
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given.strip().replace(" ", "+") if "T" in given else given.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        wrong = [{"path": "before", "message": "this is no time in ISO 8601"}]
        raise InvalidArguments("before has to be a time, such as 2026-11-20T09:30:00+00:00", errors=wrong) from error


TOOLS = (list_threads, get_thread, delete_thread, prune_threads)
