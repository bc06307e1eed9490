"""The graph's checkpoints on PostgreSQL: LangGraph's own saver and tables, behind forced row-level security."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import ClassVar

import anyio
import sqlalchemy as sa
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection, AsyncCursor, OperationalError, sql
from psycopg.rows import DictRow, dict_row

from tausestack.database.ownership import TENANT_ROLE
from tausestack.errors import Unavailable

SCHEMA = "tausestack_agents_checkpoints"
"""Not the agents' own: LangGraph makes its tables itself, and numbers their revisions in one without tenants."""

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('tausestack/checkpoints', 0))"
_FOUND = f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; GRANT USAGE ON SCHEMA {SCHEMA} TO {TENANT_ROLE}"
_ENTER = "SELECT set_config('search_path', %s, true), set_config('app.tenant', %s, true), set_config('role', %s, true)"

_UNGUARDED = (
    "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')"
    " AND relname <> 'checkpoint_migrations' AND NOT (relrowsecurity AND relforcerowsecurity)"
)
_WALLED = (
    "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p') AND relrowsecurity"
)
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
    """Gives out a tenant's saver: a connection a run, each of its transactions under the tenant's role."""

    def __init__(self, url: str, serializer: SerializerProtocol) -> None:
        self._url = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._serializer = serializer
        self._preparing = anyio.Lock()
        self._prepared = False

    @asynccontextmanager
    async def saver(self, tenant: str) -> AsyncGenerator[AsyncPostgresSaver]:
        """Open the tenant's saver for one run."""
        await self._prepare()
        async with self._connected() as connection:
            yield _TenantSaver(connection, tenant, self._serializer)

    async def count(self, tenant: str) -> int:
        """Return how many checkpoints a tenant has."""
        async with self._entered(tenant) as connection:
            row = await (await connection.execute("SELECT count(*) AS checkpoints FROM checkpoints")).fetchone()
        return 0 if row is None else int(row["checkpoints"])

    async def threads(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's threads."""
        async with self._entered(tenant) as connection:
            rows = await connection.execute("SELECT DISTINCT thread_id FROM checkpoints ORDER BY 1")
            return [str(row["thread_id"]) for row in await rows.fetchall()]

    async def erase(self, tenant: str) -> None:
        """Delete a tenant's rows in every table: its wall lets no others be seen."""
        async with self._entered(tenant) as connection:
            for row in await (await connection.execute(_WALLED, [SCHEMA])).fetchall():
                await connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(row["relname"])))

    @asynccontextmanager
    async def _entered(self, tenant: str) -> AsyncGenerator[AsyncConnection[DictRow]]:
        """Open a transaction of a tenant's."""
        await self._prepare()
        async with self._connected() as connection, connection.transaction():
            await connection.execute(_ENTER, [SCHEMA, tenant, TENANT_ROLE])
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[AsyncConnection[DictRow]]:
        try:
            connection = await AsyncConnection[DictRow].connect(self._url, autocommit=True, row_factory=dict_row)
        except OperationalError as error:
            raise Unavailable("the database can't be reached: nothing was done, try again") from error
        try:
            yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()

    async def _prepare(self) -> None:
        """Bring LangGraph's tables to its newest revision and wall them off, as the owner, once a process.

        The tenants' role is there: a run's own tables were prepared before the run was claimed.
        """
        async with self._preparing:
            if self._prepared:
                return
            async with self._connected() as owner, owner.transaction():
                await owner.execute(_LOCK)
                await owner.execute(_FOUND)
                await owner.execute(f"SET LOCAL search_path TO {SCHEMA}")
                await _Founder(owner).setup()
                for row in await (await owner.execute(_UNGUARDED, [SCHEMA])).fetchall():
                    for statement in _WALL:
                        await owner.execute(sql.SQL(statement).format(sql.Identifier(row["relname"])))
            self._prepared = True


class _Founder(AsyncPostgresSaver):
    """Sets up within one transaction, so that no table is ever without its wall.

    An index can't be made concurrently there, and would wait for whoever waits for the lock.
    """

    MIGRATIONS: ClassVar[list[str]] = [
        migration.replace(" CONCURRENTLY ", " ") for migration in AsyncPostgresSaver.MIGRATIONS
    ]


class _TenantSaver(AsyncPostgresSaver):
    """LangGraph's saver, whose every statement runs in a transaction of the tenant's."""

    def __init__(self, connection: AsyncConnection[DictRow], tenant: str, serializer: SerializerProtocol) -> None:
        super().__init__(connection, serde=serializer)
        self._connection = connection
        self._tenant = tenant

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncGenerator[AsyncCursor[DictRow]]:
        # Private to LangGraph, but all that its saver does goes through it; its version is pinned.
        del pipeline
        async with self.lock, self._connection.transaction():
            await self._connection.execute(_ENTER, [SCHEMA, self._tenant, TENANT_ROLE])
            async with self._connection.cursor(binary=True, row_factory=dict_row) as cursor:
                yield cursor
