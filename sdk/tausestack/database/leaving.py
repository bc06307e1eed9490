"""A tenant's rows as they leave a service's database: of one moment, and one after the other.

A record is `{"table": name, "row": {…}}`, or with `"system"` instead of `"table"` for a row of `_system` that is about
the tenant, without the column that says whose. Sealed values are sealed anew by who asks, since data keys go nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import sqlalchemy as sa

from tausestack.database.connection import Connection, Row
from tausestack.database.plain import encoded, reading
from tausestack.database.tenants import TenantDatabases
from tausestack.database.vault import SealedTable, Vault
from tausestack.database.whole import Whole
from tausestack.names import SYSTEM_TENANT
from tausestack.sealing import place

Record = dict[str, Any]
Sealing = Callable[[bytes, bytes], bytes]
"""Seals a value, or opens a sealed one, for the place that it is bound to."""

AT_ONCE = 16
"""How many rows are held at once: one may have megabytes."""


def sealed_place(service: str, table: sa.Table, row: dict[str, Any]) -> bytes:
    """Return what a sealed value is bound to while it travels: its table and its row, whose tenant may be renamed."""
    key = [str(row[column.name]) for column in table.primary_key.columns]
    return place("travelling", f"{service}.{table.name}", *key)


class Leaving:
    """One snapshot of a service's share of a tenant."""

    def __init__(
        self, whole: Whole, schema_service: str, sealed: dict[str, SealedTable], vault: Vault | None, tenant: str,
        own: Connection | None, system: Connection | None,
    ) -> None:  # fmt: skip
        self._whole, self._service = whole, schema_service
        self._sealed, self._vault = sealed, vault
        self._tenant, self._own = tenant, own
        self.system = system
        """The snapshot of `_system`, of the same moment."""

    async def records(self, seal: Sealing, *, without: Collection[str] = ()) -> AsyncGenerator[Record]:
        """Yield every row, those of some tables excepted; raises `InternalError` for a table that nobody declared."""
        if self._own is not None:
            owned = {table.name for table, _ in await self._whole.owned(self._own)}
            for table in await self._whole.there(self._own):
                if table.name in without or (self._tenant == SYSTEM_TENANT and table.name in owned):
                    continue  # what is about tenants goes with them
                async for row in self._own.stream(reading(table), at_once=AT_ONCE):
                    yield {"table": table.name, "row": await self._travelling(self._own, table, row, seal)}
        if self.system is not None and self._tenant != SYSTEM_TENANT:
            for table, owner in await self._whole.owned(self.system):
                wanted = reading(table).where(owner == self._tenant)
                async for row in self.system.stream(wanted, at_once=AT_ONCE):
                    values = encoded(table, row)
                    del values[owner.name]
                    yield {"system": table.name, "row": values}

    async def _travelling(self, db: Connection, table: sa.Table, row: Row, seal: Sealing) -> dict[str, Any]:
        one = self._sealed.get(table.name)
        if one is None or self._vault is None:
            return encoded(table, row)
        plain = dict(zip(table.c.keys(), row, strict=True))
        (value,) = await self._vault.open(db, table, [row])
        plain[one.value] = seal(sealed_place(self._service, table, plain), value.encode())
        return encoded(table, tuple(plain.values()))


@asynccontextmanager
async def leaving(databases: TenantDatabases, vault: Vault | None, tenant: str) -> AsyncGenerator[Leaving]:
    """Open a service's share of a tenant as it is now: what is written meanwhile is not in it."""
    whole, schema = Whole(databases), databases.schema
    async with AsyncExitStack() as stack:
        opened: dict[str, Connection | None] = {}
        for name in dict.fromkeys((tenant, SYSTEM_TENANT)):
            opened[name] = None
            if await databases.exists(name):
                connection = await stack.enter_async_context(databases.reading(name))
                # A snapshot begins with the first question.
                await whole.tables(connection)
                opened[name] = connection
        sealed = {one.table.name: one for one in schema.sealed}
        yield Leaving(whole, schema.service, sealed, vault, tenant, opened[tenant], opened[SYSTEM_TENANT])
