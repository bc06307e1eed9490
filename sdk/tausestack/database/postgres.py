"""Tenants' rows on PostgreSQL: a schema per service, walled off by forced row-level security."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from tausestack.database.away import unavailable
from tausestack.database.connection import Connection, Work, in_one_trip, in_thread, no_turn
from tausestack.database.own_rows import confine, owned
from tausestack.database.ownership import TENANT_ROLE, prepare, psycopg_url, schema_name
from tausestack.database.schema import Schema

_KEPT = 5
# A whole stack, six services with tables, stays below the 100 connections of a PostgreSQL as it comes.
_CONNECTIONS = 12
_WAIT_SECONDS = 10.0
_T = TypeVar("_T")

# One round trip. All of it ends with the transaction, so that a pooled connection carries no tenant over. Writers of
# a tenant take turns across processes too, as they do on SQLite.
_ENTER = (
    "set_config('search_path', :path, true), set_config('app.tenant', :tenant, true), set_config('role', :role, true),"
    " set_config('idle_in_transaction_session_timeout', :idle, true)"
)
_ENTER_READING = sa.text(f"SELECT {_ENTER}")
_ENTER_WRITING = sa.text(f"SELECT {_ENTER}, pg_advisory_xact_lock(hashtextextended(:turn, 0))")

_TENANT_TABLES = sa.text(
    "SELECT table_name FROM information_schema.columns"
    " WHERE table_schema = :schema AND column_name = 'tenant' ORDER BY table_name"
)
_COUNT_ON = sa.text(
    "SELECT setval(s.name, GREATEST(:highest, nextval(s.name)))"
    " FROM (SELECT pg_get_serial_sequence(:table, :column) AS name) AS s WHERE s.name IS NOT NULL"
)
_UNREACHABLE = "the database can't be reached"


class PostgresTables:
    """The tables of one service, for all tenants in one PostgreSQL database."""

    def __init__(self, schema: Schema, url: str, data: Path) -> None:
        """Open nothing yet; `data` is the folder of the installation whose database it has to be."""
        self._schema = schema
        self._data = data
        self._url = psycopg_url(url)
        self._name = schema_name(schema)
        self._engine = sa.create_engine(
            self._url,
            pool_size=_KEPT,
            max_overflow=_CONNECTIONS - _KEPT,
            hide_parameters=True,  # an error is logged, and a tenant's data is not
            execution_options={"preserve_rowcount": True},
        )
        confine(self._engine)
        self._threads = anyio.CapacityLimiter(_CONNECTIONS)
        # Who waits for a connection waits here, not in a thread that the one who has it needs to end.
        self._free = anyio.Semaphore(_CONNECTIONS, max_value=_CONNECTIONS)
        self._preparing = anyio.Lock()
        self._prepared = False

    async def begin(self, tenant: str, *, write: bool, ended: Callable[[], None]) -> Connection:
        """Begin a transaction; `ended` is called once when it has ended, not when this raises."""
        await self._room()
        try:
            raw = await in_thread(self._threads, lambda: self._enter(tenant, write=write))
        except BaseException:
            self._free.release()
            raise

        def end() -> None:
            self._free.release()
            ended()

        return Connection(tenant, raw, self._threads, end)

    async def at_once(self, tenant: str, work: Work[_T], *, write: bool, short: bool = False) -> _T:
        """Do a whole transaction in one trip to a thread, be it `short` or not: the server is waited for."""
        del short
        await self._room()
        try:
            return await in_thread(
                self._threads,
                lambda: in_one_trip(tenant, self._enter(tenant, write=write), self._threads, work, keep=write),
            )
        finally:
            self._free.release()

    async def exists(self, tenant: str) -> bool:
        """Return whether the tenant has a row in any table."""
        connection = await self.begin(tenant, write=False, ended=no_turn)
        try:
            for table in await self._tables(connection):
                if await connection.scalar(sa.select(sa.literal(1)).select_from(table).limit(1)):
                    return True
            return False
        finally:
            await connection.aclose()

    async def delete(self, tenant: str) -> None:
        """Delete the tenant's rows in every table."""
        connection = await self.begin(tenant, write=True, ended=no_turn)
        try:
            await connection.execute(sa.text("SET CONSTRAINTS ALL DEFERRED"))
            for table in await self._tables(connection):
                await connection.change(sa.delete(table))
            await connection.commit()
        finally:
            await connection.aclose()

    async def migrate(self, tenant: str) -> None:
        """Bring the service's tables, which all tenants share, to the newest revision."""
        del tenant
        await self._prepare()

    async def settle(self, tenant: str) -> None:
        """Do nothing: what is deleted is the server's to clear."""
        del tenant

    async def compact(self, tenant: str) -> None:
        """Do nothing: the server gives room back by itself."""
        del tenant

    async def count_on(self, table: str, column: str, highest: int) -> None:
        """Have a column's sequence, which all tenants share, go on after a number."""
        values = {"table": f'"{self._name}"."{table}"', "column": column, "highest": highest}

        def move() -> None:
            engine = sa.create_engine(self._url, poolclass=sa.NullPool, hide_parameters=True)
            with engine.begin() as owner:
                owner.execute(_COUNT_ON, values)

        await in_thread(self._threads, move)

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await in_thread(self._threads, self._engine.dispose)

    async def _tables(self, connection: Connection) -> list[sa.TableClause]:
        return [sa.table(row[0]) for row in await connection.execute(_TENANT_TABLES, {"schema": self._name})]

    async def _prepare(self) -> None:
        if self._prepared:
            return
        async with self._preparing:
            if not self._prepared:
                try:
                    await in_thread(self._threads, lambda: prepare(self._schema, self._url, self._data))
                except OperationalError as error:
                    raise unavailable(_UNREACHABLE) from error
                self._prepared = True

    async def _room(self) -> None:
        """Wait until there is a connection for one more transaction."""
        await self._prepare()
        with anyio.move_on_after(_WAIT_SECONDS) as waiting:
            await self._free.acquire()
        if waiting.cancelled_caught:
            raise unavailable("every connection to the database is busy")

    def _enter(self, tenant: str, *, write: bool) -> sa.Connection:
        try:
            try:
                return self._begin(tenant, write=write)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                # The server went away while the connection lay in the pool; nothing was asked of it yet.
                return self._begin(tenant, write=write)
        except OperationalError as error:
            raise unavailable(_UNREACHABLE) from error

    def _begin(self, tenant: str, *, write: bool) -> sa.Connection:
        raw = owned(self._engine.connect(), tenant)
        try:
            idle = str(int(self._schema.idle_seconds * 1000))
            values = {"tenant": tenant, "role": TENANT_ROLE, "path": f'"{self._name}"', "idle": idle}
            if write:
                raw.execute(_ENTER_WRITING, {**values, "turn": f"{self._name}/{tenant}"})
            else:
                raw.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                raw.execute(_ENTER_READING, values)
        except BaseException:
            raw.close()
            raise
        return raw


def prepared(schema: Schema, url: str, data: Path) -> None:
    """Bring a service's tables to the newest revision, or raise `Unavailable` where the database can't be reached."""
    try:
        prepare(schema, psycopg_url(url), data)
    except OperationalError as error:
        raise unavailable(_UNREACHABLE) from error
