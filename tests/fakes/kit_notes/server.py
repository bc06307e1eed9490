"""The server and its tools."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypedDict

import anyio
import sqlalchemy as sa
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

import tausestack as ts
from tausestack.database import Connection, Schema

METADATA = sa.MetaData()
NOTES = sa.Table(
    "notes", METADATA, sa.Column("id", sa.Text(), primary_key=True), sa.Column("text", sa.Text(), nullable=False)
)


class Added(TypedDict):
    """A note that was added, and how many there are now."""

    id: str
    count: int


@asynccontextmanager
async def lifespan(service: ts.mcp.Service) -> AsyncGenerator[dict[str, str]]:
    """Leave a trace of a start and of an orderly end; its own work breaks once what it leans on is gone."""
    service.env.data.mkdir(parents=True, exist_ok=True)
    (service.env.data / "started").touch()
    async with anyio.create_task_group() as group:
        if (prop := service.env.data / "prop").exists():
            group.start_soon(_lean, prop)
        yield {"greeting": "hello"}
        group.cancel_scope.cancel()
    (service.env.data / "ended").touch()


async def _lean(prop: Path) -> None:
    while await anyio.Path(prop).exists():  # noqa: ASYNC110 nothing tells of a file
        await anyio.sleep(0.02)
    raise RuntimeError("it is gone")


server = ts.mcp.Server(
    "notes", version="1.2.3", schema=Schema("notes", METADATA, "kit_notes.migrations"), lifespan=lifespan
)


async def _add(db: Connection, text: str) -> Added:
    note = secrets.token_hex(4)
    await db.execute(sa.insert(NOTES).values(id=note, text=text))
    count = await db.scalar(sa.select(sa.func.count()).select_from(NOTES))
    return Added(id=note, count=count)


@server.tool("notes/add")
async def add(
    text: Annotated[str, Field(description="What to keep", examples=["milk"], max_length=200)], ctx: ts.mcp.Context
) -> Added:
    """Keep a note."""
    async with ctx.write() as db:
        return await _add(db, text)


@server.tool("notes/add_twice")
async def add_twice(text: str, ctx: ts.mcp.Context) -> Added:
    """Keep a note two times, in one transaction that is joined, and read through it."""
    async with ctx.write() as db:
        await _add(db, text)
    async with ctx.write() as db:
        await _add(db, text)
    async with ctx.database() as db:
        count = await db.scalar(sa.select(sa.func.count()).select_from(NOTES))
    return Added(id="both", count=count)


@server.tool("notes/add_and_fail")
async def add_and_fail(text: str, ctx: ts.mcp.Context) -> Added:
    """Keep a note, then fail."""
    async with ctx.write() as db:
        await _add(db, text)
    raise ts.errors.Conflict("the page is full", page=7)


@server.tool("notes/add_and_break")
async def add_and_break(text: str, ctx: ts.mcp.Context) -> Added:
    """Keep a note, then break."""
    async with ctx.write() as db:
        await _add(db, text)
        raise RuntimeError(f"a defect that knows {text}")


@server.tool("notes/add_stubbornly")
async def add_stubbornly(text: str, ctx: ts.mcp.Context) -> Added:
    """Keep a note, and go on whatever happens."""
    try:
        async with ctx.write() as db:
            return await _add(db, text)
    except Exception:  # noqa: BLE001 the point of this tool
        return Added(id="none", count=-1)


@server.tool("notes/add_and_die")
async def add_and_die(text: str, ctx: ts.mcp.Context) -> Added:
    """Keep a note; the process dies before it commits, the first time."""
    async with ctx.write() as db:
        added = await _add(db, text)
        died = ctx.service.env.data / "died"
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return added


@server.tool("notes/mint", keyed=False)
async def mint(ctx: ts.mcp.Context) -> str:
    """Make a secret that is shown once and kept nowhere."""
    async with ctx.write() as db:
        return (await _add(db, "minted"))["id"]


@server.tool("notes/list", side_effect="read")
async def list_notes(ctx: ts.mcp.Context) -> list[str]:
    """List the notes."""
    async with ctx.database() as db:
        return [row.text for row in await db.execute(sa.select(NOTES.c.text).order_by(NOTES.c.text))]


@server.tool("notes/meddle", side_effect="read")
async def meddle(ctx: ts.mcp.Context) -> int:
    """Write, though it says that it reads."""
    async with ctx.database() as db:
        return await db.change(sa.delete(NOTES))


@server.tool("notes/greet", side_effect="read")
def greet(ctx: ts.mcp.Context) -> str:
    """Greet the tenant, from a worker thread."""
    return f"{ctx.state['greeting']} {ctx.tenant}"


@server.tool("notes/report", side_effect="read")
async def report(steps: int, ctx: ts.mcp.Context) -> int:
    """Report progress, step by step."""
    for step in range(1, steps + 1):
        await ctx.progress(step, steps, f"step {step}")
    return steps


@server.tool("notes/wait", side_effect="read")
async def wait(ctx: ts.mcp.Context) -> str:
    """Wait until the file `go` is there."""
    data = ctx.service.env.data
    try:
        (data / "waiting").touch()
        while not await anyio.Path(data / "go").exists():  # noqa: ASYNC110 another process sets it
            await anyio.sleep(0.01)  # the poll of a condition; the caller has the deadline
    except BaseException:
        (data / "cancelled").touch()
        raise
    return "went"


@server.tool("notes/ask", side_effect="write")
async def ask(question: str, ctx: ts.mcp.Context) -> dict[str, str]:
    """Ask another server, twice the same and once another thing."""
    first = await ctx.call("oracle/answer", {"question": question})
    await ctx.call("oracle/answer", {"question": question})
    await ctx.call("oracle/answer", {"question": "else"})
    return {"answer": first["answer"], "secret": str(await ctx.secrets.get("TOKEN"))}


@server.tool("notes/inside", side_effect="read", scopes=["system"])
async def inside(ctx: ts.mcp.Context) -> str:
    """Tell who asks; for our own processes alone."""
    return ctx.principal.id


@server.http("export/{name}")
async def export(request: Request, ctx: ts.mcp.Context) -> Response:
    """Send the notes as text."""
    async with ctx.database() as db:
        rows = await db.execute(sa.select(NOTES.c.text).order_by(NOTES.c.text))
    return PlainTextResponse(f"{request.path_params['name']} of {ctx.tenant}: " + ",".join(row.text for row in rows))


@server.http("import", methods=["POST"])
async def import_notes(request: Request, ctx: ts.mcp.Context) -> Response:
    """Keep what is sent, a note a line; `bad` spoils all of it."""
    async with ctx.write() as db:
        for line in (await request.body()).decode().splitlines():
            await _add(db, line)
            if line == "bad":
                raise ts.errors.InvalidRequest("a bad line")
    return JSONResponse({"done": True})


@server.http("inside", scopes=["system"])
async def inside_http(_request: Request, ctx: ts.mcp.Context) -> Response:
    """Tell who asks; for our own processes alone."""
    return PlainTextResponse(ctx.principal.id)
