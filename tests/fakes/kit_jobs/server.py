"""The server and its tools."""

from __future__ import annotations

import os
import secrets
from typing import TypedDict

import anyio
import sqlalchemy as sa

import tausestack as ts
from tausestack.database import Connection, Schema

METADATA = sa.MetaData()
DONE = sa.Table(
    "done", METADATA, sa.Column("id", sa.Text(), primary_key=True), sa.Column("what", sa.Text(), nullable=False)
)
CONFIRM = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}

server = ts.mcp.Server(
    "jobs",
    version="1.0.0",
    schema=Schema("jobs", METADATA, "kit_jobs.migrations"),
    task_limits=ts.mcp.TaskLimits(
        running=int(os.environ.get("JOBS_RUNNING", "50")),
        ttl_ms=int(os.environ.get("JOBS_TTL_MS", "600000")),
        silence_ms=int(os.environ.get("JOBS_SILENCE_MS", "6000")),
    ),
)


class Recounted(TypedDict):
    """What was counted, and how often by now."""

    shelf: str
    count: int


async def _gate(ctx: ts.mcp.Context, name: str) -> None:
    """Leave a line that it was reached, then wait until the test opens it for the tenant."""
    folder = anyio.Path(ctx.service.env.data)
    async with await (folder / f"{ctx.tenant}-{name}.reached").open("a") as file:
        await file.write("reached\n")
    while not await (folder / f"{ctx.tenant}-{name}.open").exists():  # noqa: ASYNC110 another process makes it
        await anyio.sleep(0.01)  # the poll of a condition; the caller has the deadline


async def _do(db: Connection, what: str) -> int:
    await db.execute(sa.insert(DONE).values(id=secrets.token_hex(4), what=what))
    return await db.scalar(sa.select(sa.func.count()).select_from(DONE).where(DONE.c.what == what))


@server.tool("jobs/recount", task_support="optional")
async def recount(shelf: str, ctx: ts.mcp.Context) -> Recounted:
    """Count a shelf, which takes a while."""
    await ctx.progress(1, 2, f"counting {shelf}")
    await _gate(ctx, "recount")
    async with ctx.write() as db:
        count = await _do(db, shelf)
    await _gate(ctx, "written")
    return Recounted(shelf=shelf, count=count)


@server.tool("jobs/charge", side_effect="external", keyed=False, task_support="optional")
async def charge(amount: int, ctx: ts.mcp.Context) -> str:
    """Act on the world outside, which nobody can tell afterwards."""
    await _gate(ctx, "charge")
    return f"charged {amount}"


@server.tool("jobs/clear", task_support="optional")
async def clear(shelf: str, ctx: ts.mcp.Context) -> str:
    """Ask twice, then clear a shelf."""
    first = await ctx.elicit(f"Clear {shelf}?", CONFIRM)
    await _gate(ctx, "between")
    second = await ctx.elicit("Really?", CONFIRM)
    if not (first["content"]["sure"] and second["content"]["sure"]):
        return "kept"
    async with ctx.write() as db:
        return f"cleared {await _do(db, shelf)}"


@server.tool("jobs/write_and_ask", task_support="optional")
async def write_and_ask(ctx: ts.mcp.Context) -> str:
    """Ask in the middle of a write, which would keep the tenant's other writes waiting."""
    async with ctx.write() as db:
        await _do(db, "asked")
        await ctx.elicit("Sure?", CONFIRM)
    return "never"


@server.tool("jobs/fail", side_effect="read", task_support="required")
async def fail(kind: str) -> str:
    """Fail in one way or another."""
    if kind == "tool":
        raise ts.errors.Conflict("the shelf is full")
    if kind == "protocol":
        raise ts.errors.InvalidArguments("no such shelf")
    raise RuntimeError("a defect")


@server.tool("jobs/done", side_effect="read")
async def done(ctx: ts.mcp.Context) -> list[str]:
    """List what was done."""
    async with ctx.database() as db:
        return [row.what for row in await db.execute(sa.select(DONE.c.what).order_by(DONE.c.what))]
