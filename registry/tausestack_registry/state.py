"""What the registry's process holds, and what a tenant has installed as of now."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import anyio.to_thread

from tausestack.changes import ChangeFeed
from tausestack.database import Connection
from tausestack.errors import Conflict, NotFound
from tausestack.mcp import Context
from tausestack_registry import listing, shapes, store
from tausestack_registry.catalogue import Catalogue
from tausestack_registry.index import ToolIndex
from tausestack_registry.listing import Installation

MAX_INDEXES = 256
"""How many tenants' search indexes are kept in memory."""


@dataclass
class State:
    """What the registry's process holds."""

    catalogue: Catalogue
    feed: ChangeFeed = field(default_factory=ChangeFeed)
    indexes: OrderedDict[str, ToolIndex] = field(default_factory=OrderedDict[str, ToolIndex])

    def changed(self, tenant: str) -> None:
        """Let followers know that a tenant's installations changed; call it after the commit, before the reply."""
        self.indexes.pop(tenant, None)
        self.feed.touch(tenant)


def state_of(ctx: Context) -> State:
    """Return what the process of a call holds."""
    state: State = ctx.state
    return state


async def installations(ctx: Context) -> list[Installation]:
    """Return what the tenant has installed, by name."""
    async with ctx.reading() as db:
        plan = await store.fact(db, store.BILLING_PLAN)
        return await listing.installations(db, state_of(ctx).catalogue, plan)


async def find(ctx: Context, name: str) -> Installation | None:
    """Return one of the tenant's servers, or None."""
    return next((one for one in await installations(ctx) if one["name"] == name), None)


async def installation(ctx: Context, name: str) -> Installation:
    """Return one of the tenant's servers, or raise `NotFound`."""
    found = await find(ctx, name)
    if found is None:
        raise not_installed(name)
    return found


async def third_party(db: Connection, name: str) -> store.Installed:
    """Return one of the tenant's third-party servers as it is kept, or raise `NotFound`."""
    found = await store.find_installed(db, name)
    if found is None:
        raise not_installed(name)
    return found


async def present(ctx: Context, name: str) -> shapes.Listed:
    """Return a server that was just changed as tools show it."""
    there = await find(ctx, name)
    if there is None:
        raise Conflict(f"{name} was uninstalled in the meantime")
    return shapes.server_shape(there)


async def tool_index(ctx: Context) -> ToolIndex:
    """Return the index over the tenant's active tools, which is built anew after each change."""
    state = state_of(ctx)
    index = state.indexes.get(ctx.tenant)
    if index is not None:
        state.indexes.move_to_end(ctx.tenant)
        return index
    epoch = state.feed.since("", 0)["epoch"]
    tools = [
        (one["name"], one["title"], tool)
        for one in await installations(ctx)
        for tool in one["tools"]
        if tool["status"] == "active" and listing.visible(tool)
    ]
    index = await anyio.to_thread.run_sync(ToolIndex, tools)  # thousands take seconds
    # What changed while it was built is not in it: the next search builds it anew.
    if state.feed.since("", 0)["epoch"] == epoch:
        state.indexes[ctx.tenant] = index
        while len(state.indexes) > MAX_INDEXES:
            state.indexes.popitem(last=False)
    return index


def not_installed(name: str) -> NotFound:
    """Return the error for a server that the tenant has not."""
    return NotFound(f"'{name[:80]}' is not installed")
