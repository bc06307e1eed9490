"""The agents server's tools for schedules: saved, listed, shown, deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field

from tausestack.agents.spec import NAME_PATTERN
from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound, Unavailable
from tausestack.mcp import Context, tool
from tausestack.scopes import RUNS_WRITE, SYSTEM, within
from tausestack_agents import schedules, specs
from tausestack_agents.cron import Cron, Missed
from tausestack_agents.keeping import State
from tausestack_agents.parameters import LINE, MAX_INPUT, MAX_THREAD, TEXT
from tausestack_agents.readers import READER, check_reader
from tausestack_agents.schedules import KIND, MAX_SCHEDULES
from tausestack_agents.store import now
from tausestack_agents.tables import schedules as table

Name = Annotated[
    str,
    Field(description="The schedule's name.", pattern=NAME_PATTERN, examples=["daily-report"]),
]
Schedule = dict[str, Any]
WRITTEN_SECONDS = 1.0
"""Within this a schedule is written, once its timer was set."""


@tool("agents/save_schedule", side_effect="write", idempotent=True, scopes=[RUNS_WRITE])
async def save_schedule(
    ctx: Context,
    name: Name,
    agent: Annotated[str | None, Field(description="The agent to run.", examples=["concierge"])] = None,
    input: Annotated[
        str | None, Field(description="What it is asked each time.", max_length=MAX_INPUT, pattern=TEXT)
    ] = None,
    cron: Annotated[
        str | None,
        Field(
            description="Minute, hour, day of the month, month, day of the week.",
            max_length=120,
            pattern=LINE,
            examples=["0 9 * * 1-5"],
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        Field(
            description="Where it is that hour; UTC unless said.",
            max_length=60,
            pattern=LINE,
            examples=["America/Bogota"],
        ),
    ] = None,
    thread: Annotated[
        str | None,
        Field(
            description="A conversation that each run goes on with; left out, each begins one.",
            max_length=MAX_THREAD,
            pattern=LINE,
        ),
    ] = None,
    missed: Annotated[
        Missed | None,
        Field(
            description="What becomes of ticks that were missed, as while the stack was down: one run for all of them "
            "together (`once`, unless said), or none (`skip`)."
        ),
    ] = None,
    enabled: Annotated[bool | None, Field(description="Whether it ticks; it does unless said.")] = None,
    existing: Annotated[bool, Field(description="Only change one that is there, and make none.")] = False,
) -> Schedule:
    """Make a schedule, or change what is given of it; at each tick an agent runs, under the rights of who saved it."""
    if ctx.principal.agent is not None:
        raise Forbidden("An agent makes no schedules")
    state: State = ctx.state
    if state.worker is None:
        raise Unavailable("The agents service runs alone: without a gateway nothing ticks")
    given = {"agent": agent, "input": input, "cron": cron, "timezone": timezone, "thread": thread, "missed": missed,
             "enabled": enabled}  # fmt: skip
    given = {field: value for field, value in given.items() if value is not None}
    async with ctx.reading() as db:
        known = await db.one(sa.select(table).where(table.c.name == name))
        count = await db.scalar(sa.select(sa.func.count()).select_from(table))
        if existing and known is None:
            raise _unknown()
        values = _values(known, given)
        await specs.find(db, values["agent"])
    if known is None and (count or 0) >= MAX_SCHEDULES:
        raise Conflict(f"A tenant has {MAX_SCHEDULES} schedules at most")
    rhythm = Cron(values["cron"], values["timezone"])
    if timezone is not None:
        rhythm.check()
    moment = datetime.now(UTC)
    scopes = sorted(within(ctx.principal.limits) - {SYSTEM})
    values |= {"principal": ctx.principal.id, "scopes": scopes}
    # First the timer, then the schedule: a timer without one is dropped, but a schedule without one never ticks.
    # Yet where a tick is due, whoever looks at once must not find the schedule as it was.
    first, later = schedules.upcoming(known, rhythm, moment).timestamp(), moment.timestamp() + WRITTEN_SECONDS
    await state.timers.set(ctx.tenant, KIND, name, max(first, later))
    async with ctx.database() as db:
        known = await db.one(sa.select(table).where(table.c.name == name))
        values["next_at"] = schedules.upcoming(known, rhythm, moment).isoformat()
        if not await db.change(sa.update(table).where(table.c.name == name).values(**values)):
            await db.execute(sa.insert(table).values(name=name, created_at=now(), **values))
        saved = schedules.shape(await schedules.find(db, name))
    if first < later:
        await state.timers.set(ctx.tenant, KIND, name, first)
    return saved


@tool("agents/list_schedules", side_effect="read", scopes=[READER])
async def list_schedules(ctx: Context) -> dict[str, list[Schedule]]:
    """List the tenant's schedules: when each ticks next, and what came of its last tick."""
    check_reader(ctx.principal)
    async with ctx.reading() as db:
        return {"schedules": [schedules.shape(row) for row in await schedules.listed(db)]}


@tool("agents/get_schedule", side_effect="read", scopes=[READER])
async def get_schedule(ctx: Context, name: Name) -> Schedule:
    """Show a schedule."""
    check_reader(ctx.principal)
    async with ctx.reading() as db:
        return schedules.shape(await schedules.find(db, name))


@tool("agents/delete_schedule", side_effect="write", scopes=[RUNS_WRITE])
async def delete_schedule(ctx: Context, name: Name) -> dict[str, str]:
    """Delete a schedule; the runs that it started stay."""
    async with ctx.database() as db:
        await schedules.delete(db, name)
    await ctx.state.timers.drop(ctx.tenant, KIND, name)
    return {"deleted": name}


def _values(known: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a schedule is to be; what is not given stays, or is what it is unless said."""
    if known is not None:
        kept = {name: getattr(known, name) for name in _FIELDS}
        return {**kept, **given}
    if not given.keys() & {"agent", "input", "cron"}:
        raise _unknown()
    lacking = [name for name in ("agent", "input", "cron") if not str(given.get(name) or "").strip()]
    if lacking:
        raise InvalidArguments(
            f"A new schedule needs {', '.join(lacking)}", errors=[{"path": name} for name in lacking]
        )
    return {**_FIELDS, **given}


def _unknown() -> NotFound:
    return NotFound("There is no such schedule, or it is not yours")


_FIELDS: dict[str, Any] = {
    "agent": "", "input": "", "cron": "", "timezone": "UTC", "thread": None, "missed": "once", "enabled": True,
}  # fmt: skip

TOOLS = (save_schedule, list_schedules, get_schedule, delete_schedule)
