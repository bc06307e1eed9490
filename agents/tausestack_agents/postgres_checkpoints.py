"""The graph's checkpoints on PostgreSQL: LangGraph's own saver and tables, behind forced row-level security."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import psycopg
import sqlalchemy as sa
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import Cursor, OperationalError, sql
from psycopg.rows import DictRow, dict_row

from tausestack.database import Connection, TenantDatabases
from tausestack.database.ownership import TENANT_ROLE
from tausestack.errors import Unavailable
from tausestack.names import SYSTEM_TENANT

SCHEMA = "tausestack_agents_checkpoints"
"""Not the agents' own: LangGraph makes its tables itself, and numbers their revisions in one without tenants."""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('tausestack/checkpoints', 0))"
_FOUND = f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; GRANT USAGE ON SCHEMA {SCHEMA} TO {TENANT_ROLE}"
_ENTER = "SELECT set_config('search_path', %s, true)"

_UNGUARDED = (
    "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')"
    " AND relname <> 'checkpoint_migrations' AND NOT (relrowsecurity AND relforcerowsecurity)"
)
_WALLED = sa.text(
    f"SELECT relname FROM pg_class WHERE relnamespace = '{SCHEMA}'::regnamespace"  # noqa: S608 - a name of our own
    " AND relkind IN ('r', 'p') AND relrowsecurity"
)
_COUNT = sa.text(f"SELECT count(*) FROM {SCHEMA}.checkpoints")  # noqa: S608 - as above
_THREADS = sa.text(f"SELECT DISTINCT thread_id FROM {SCHEMA}.checkpoints ORDER BY 1")  # noqa: S608 - as above
# The tenant leads the thread's id, and no tenant's name holds a colon. A table that LangGraph may add without threads
# fails here instead of standing open.
_OWN = "split_part(thread_id, ':', 1) = nullif(current_setting('app.tenant', true), '')"
_WALL = (
    "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY tenant ON {{0}} USING ({_OWN}) WITH CHECK ({_OWN})",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {{0}} TO {TENANT_ROLE}",
)


class PostgresCheckpoints:
    """Gives out savers that work within the tenant's own transactions, and so under its role."""

    def __init__(self, databases: TenantDatabases, url: str, serializer: SerializerProtocol) -> None:
        self._databases = databases
        self._url = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._serializer = serializer
        self._preparing = anyio.Lock()
        self._prepared = False

    async def open(self, tenant: str) -> None:
        """Bring LangGraph's tables to its newest revision and wall them off, as the owner, once a process."""
        async with self._preparing:
            if not self._prepared:
                await self._databases.migrate(SYSTEM_TENANT)  # the tenants' role is made with the agents' own tables
                await anyio.to_thread.run_sync(self._prepare)
                self._prepared = True

    def saver(self, tenant: str, db: Connection | None) -> PostgresSaver:
        """Return a saver within a transaction, whose search path is that of the checkpoints from here on."""
        del tenant  # the transaction is its own
        if db is None:
            return _TenantSaver(None, self._serializer)
        db.driver.execute(_ENTER, [SCHEMA])
        return _TenantSaver(db.driver, self._serializer)

    async def close(self, tenant: str) -> None:
        """Do nothing: transactions are the pool's."""
        del tenant

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints a tenant has."""
        await self.open(tenant)
        return int(await self._databases.read(tenant, lambda db: db.scalar(_COUNT), even_shut=True))

    async def threads(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's threads."""
        await self.open(tenant)
        rows = await self._databases.read(tenant, lambda db: db.execute(_THREADS))
        return [str(row.thread_id) for row in rows]

    async def erase(self, tenant: str) -> None:
        """Delete a tenant's rows in every table: its wall lets no others be seen."""
        await self.open(tenant)

        async def work(db: Connection) -> None:
            for row in await db.execute(_WALLED):
                await db.execute(sa.text(f'DELETE FROM {SCHEMA}."{row.relname}"'))  # noqa: S608 - a table's name

        await self._databases.write(tenant, work, even_shut=True)

    async def aclose(self) -> None:
        """Do nothing: connections are the pool's."""

    def _prepare(self) -> None:
        try:
            owner = psycopg.Connection[DictRow].connect(self._url, row_factory=dict_row)
        except OperationalError as error:
            raise Unavailable("the database can't be reached: nothing was done, try again") from error
        with owner:
            owner.execute(_LOCK)
            owner.execute(_FOUND)
            owner.execute(f"SET LOCAL search_path TO {SCHEMA}")
            _Founder(owner).setup()
            for row in owner.execute(_UNGUARDED, [SCHEMA]).fetchall():
                for statement in _WALL:
                    owner.execute(sql.SQL(statement).format(sql.Identifier(row["relname"])))


class _Founder(PostgresSaver):
    """Sets up within one transaction, so that no table is ever without its wall.

    An index can't be made concurrently there, and would wait for whoever waits for the lock.
    """

    MIGRATIONS: ClassVar[list[str]] = [
        migration.replace(" CONCURRENTLY ", " ") for migration in PostgresSaver.MIGRATIONS
    ]

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Generator[Cursor[DictRow]]:
        del pipeline
        connection: Any = self.conn
        with connection.cursor(row_factory=dict_row) as cursor:
            yield cursor


class _TenantSaver(PostgresSaver):
    """LangGraph's saver within a transaction that is begun and ended elsewhere."""

    def __init__(self, connection: Any, serializer: SerializerProtocol) -> None:
        super().__init__(connection, serde=serializer)

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Generator[Cursor[DictRow]]:
        # Private to LangGraph, but all that its saver does goes through it; its version is pinned.
        del pipeline
        connection: Any = self.conn
        with connection.cursor(binary=True, row_factory=dict_row) as cursor:
            yield cursor
