"""A tenant's secrets for its servers: kept sealed, opened for whoever starts or reaches a server, and never shown."""

from __future__ import annotations

from collections.abc import Mapping

from tausestack.database import Connection
from tausestack.database.vault import UNVERSIONED
from tausestack.mcp import Context
from tausestack_registry import store
from tausestack_registry.tables import secrets


async def keep(ctx: Context, db: Connection, server: str, values: Mapping[str, str | None]) -> None:
    """Keep a server's secrets over older ones; one that is None is removed."""
    for name, value in values.items():
        await store.remove_secret(db, server, name)
        if value is not None:
            row = {"installation": server, "name": name}
            await store.add_secret(db, await ctx.vault.seal(db, secrets, row, value))


async def opened(ctx: Context, db: Connection, server: str) -> dict[str, str]:
    """Return a server's secrets by name, read in a transaction of any kind."""
    rows = await store.secrets_of(db, server)
    values = await ctx.vault.open(db, secrets, rows)
    return {row.name: value for row, value in zip(rows, values, strict=True)}


async def bring_up_to_date(ctx: Context) -> None:
    """Seal what an earlier release kept as all is sealed now; nothing that a caller sees is changed."""
    async with ctx.reading() as db:
        stale = await store.has_secrets_of_version(db, UNVERSIONED)
    if stale:
        async with ctx.service.tenant_databases().transaction(ctx.tenant) as db:
            await ctx.vault.rewrap(db)
