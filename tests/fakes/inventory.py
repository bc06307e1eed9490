"""A server written with the kit, for tests that start it as a process: `python inventory.py`."""

from __future__ import annotations

import os
import signal
from typing import Annotated, Any

import anyio
import sqlalchemy as sa
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import tausestack as ts
from tausestack.database import Schema
from tausestack.errors import Conflict

metadata = sa.MetaData()
stock = sa.Table("stock", metadata, sa.Column("sku", sa.Text, primary_key=True), sa.Column("quantity", sa.Integer))

server = ts.mcp.Server("inventory", version="1.2.3", schema=Schema("inventory", metadata, "inventory_migrations"))


class Stock(BaseModel):
    """What there is of an item."""

    sku: str
    quantity: int


@server.tool("inventory/reserve")
async def reserve(
    sku: Annotated[str, Field(description="The item.", examples=["shoe"], pattern="^[a-z]+$")],
    quantity: int,
    ctx: ts.mcp.Context,
    break_off: bool = False,
) -> Stock:
    """Add to an item's stock."""
    async with ctx.write() as db:
        had = await db.scalar(sa.select(stock.c.quantity).where(stock.c.sku == sku)) or 0
        await db.execute(sa.delete(stock).where(stock.c.sku == sku))
        await db.execute(sa.insert(stock).values(sku=sku, quantity=had + quantity))
        if quantity < 0:
            raise Conflict("there is no such thing as less than nothing")
    if break_off:
        os.kill(os.getpid(), signal.SIGKILL)
    return Stock(sku=sku, quantity=had + quantity)


@server.tool(side_effect="read")
async def count(sku: str, ctx: ts.mcp.Context) -> int:
    """Count an item."""
    async with ctx.reading() as db:
        return await db.scalar(sa.select(stock.c.quantity).where(stock.c.sku == sku)) or 0


@server.tool(side_effect="read")
async def slow(steps: int, ctx: ts.mcp.Context) -> list[str]:
    """Take a while, and say how far it has come."""
    for step in range(steps):
        await ctx.progress(step + 1, steps, f"step {step + 1}")
    return ["done"]


@server.tool(side_effect="read")
async def forever(path: str) -> None:
    """Wait until cancelled, and leave a trace then."""
    try:
        await anyio.sleep_forever()
    finally:
        await anyio.Path(path).write_text("cancelled")


@server.tool(side_effect="read")
def broken() -> dict[str, Any]:
    """Raise what no caller may see."""
    raise RuntimeError("the secret is hunter2")


@ts.mcp.tool("inventory/legacy_report")
def legacy_report(tenant_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """Report in the earlier form."""
    return {"tenant": tenant_id, "params": params}


server.include(legacy_report, side_effect="read")


@server.http("reports/{name}")
async def report(request: Request, ctx: ts.mcp.Context) -> Response:
    """Give a report that MCP can't carry."""
    return PlainTextResponse(f"{ctx.tenant}: {request.path_params['name']}")


if __name__ == "__main__":
    server.main()
