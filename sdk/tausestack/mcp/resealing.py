"""The tool by which the stack rotates keys: every server with sealed tables has it, and nobody else may call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from tausestack.mcp.context import Context
from tausestack.scopes import SYSTEM

if TYPE_CHECKING:
    from tausestack.mcp.server import Server

TOOL = "reseal"


class Resealed(BaseModel):
    """What was sealed anew, and how many rows are left for the next call."""

    done: int
    left: int


def add_resealing(server: Server) -> None:
    """Give a server the tool."""

    @server.tool(f"{server.name}/{TOOL}", side_effect="write", idempotent=True, scopes=[SYSTEM])
    async def reseal(ctx: Context, renew: bool = False) -> Resealed:
        """Seal the tenant's data keys by the current master key, or with `renew` its values by a data key of their own.

        A renewal goes on in steps: it is done when nothing is left.
        """
        if not await ctx.service.tenant_databases().may_hold(ctx.tenant):
            return Resealed(done=0, left=0)
        async with ctx.database() as db:
            done = await ctx.vault.rewrap(db)
            return Resealed(done=done, left=await ctx.vault.renew(db) if renew else 0)
