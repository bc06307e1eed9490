"""All that a service keeps of a tenant in its database: counted, and deleted without a trace."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database.connection import Connection
from tausestack.database.idempotency import KEYS
from tausestack.database.schema import Schema, owner_column
from tausestack.database.tasks import PROCESSES, TASKS
from tausestack.database.tenants import TenantDatabases
from tausestack.database.vault import DATA_KEYS
from tausestack.errors import InternalError
from tausestack.names import SYSTEM_TENANT

_KIT = (KEYS, TASKS, PROCESSES)
_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgresql": "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()",
}
_REVISIONS = "alembic_version"

Counts = dict[str, int]
"""Rows by table; those of `_system` that are about the tenant as `_system.{table}`. Empty tables are left out."""


def declared(schema: Schema) -> list[sa.Table]:
    """Return the tables of a schema and those of the kit; what a table refers to comes before it."""
    return [*schema.metadata.sorted_tables, *_KIT]


class Whole:
    """A service's share of a tenant, table by table: those of its own schema and those of the kit."""

    def __init__(self, databases: TenantDatabases) -> None:
        self._databases = databases
        self._schema: Schema = databases.schema

    async def count(self, tenant: str) -> Counts:
        """Return how many rows there are; asking makes nothing."""
        found: Counts = {}
        if await self._databases.exists(tenant):
            async with self._databases.reading(tenant, even_shut=True) as db:
                for name in await self.tables(db):
                    found[name] = await db.scalar(sa.select(sa.func.count()).select_from(sa.table(name)))
        if await self._databases.exists(SYSTEM_TENANT):
            async with self._databases.reading(SYSTEM_TENANT) as db:
                for table, owner in await self.owned(db):
                    query = sa.select(sa.func.count()).select_from(table).where(owner == tenant)
                    found[f"{SYSTEM_TENANT}.{table.name}"] = await db.scalar(query)
        return {name: rows for name, rows in found.items() if rows}

    async def erase(self, tenant: str) -> Counts:
        """Delete all of it and return what there was; done twice, or again after a kill, it is done.

        What is about the tenant in `_system` goes first: it is what makes a worker come back for the rest.
        """
        found = await self.count(tenant)
        if await self._databases.exists(SYSTEM_TENANT):
            async with self._databases.transaction(SYSTEM_TENANT) as db:
                await db.wipe()
                for table, owner in await self.owned(db):
                    await db.change(sa.delete(table).where(owner == tenant))
            await self._databases.settle(SYSTEM_TENANT)
        await self._databases.delete(tenant)
        return found

    async def tables(self, db: Connection) -> list[str]:
        """Return the tables that are really there, the revisions' own excepted."""
        rows = await db.execute(sa.text(_TABLES[db.dialect]))
        return sorted(row[0] for row in rows if row[0] != _REVISIONS)

    async def there(self, db: Connection) -> list[sa.Table]:
        """Return the tables that are really there, as they are declared; data keys, which go nowhere, left out.

        What a table refers to comes before it. Raises `InternalError` for one that nobody declared.
        """
        names = set(await self.tables(db)) - {DATA_KEYS.name}
        found = [table for table in declared(self._schema) if table.name in names]
        unknown = names - {table.name for table in found}
        if unknown:
            raise InternalError(f"{self._schema.service} has tables that its schema does not know: {sorted(unknown)}")
        return found

    async def owned(self, db: Connection) -> list[tuple[sa.Table, sa.Column[str]]]:
        """Return the tables in which `_system` keeps rows about tenants, each with the column that says whose."""
        there = set(await self.tables(db))
        marked = ((table, owner_column(table)) for table in declared(self._schema) if table.name in there)
        return [(table, owner) for table, owner in marked if owner is not None]
