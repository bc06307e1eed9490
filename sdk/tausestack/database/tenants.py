"""A service's databases: a connection exists only for a tenant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from tausestack.database.connection import Connection, Work, no_turn
from tausestack.database.schema import Schema
from tausestack.database.sqlite import SQLiteFiles
from tausestack.database.turns import Turns
from tausestack.errors import NotFound
from tausestack.names import SYSTEM_TENANT, check_tenant

_T = TypeVar("_T")


class _Databases(Protocol):
    async def begin(self, tenant: str, *, write: bool, ended: Callable[[], None]) -> Connection: ...

    async def at_once(self, tenant: str, work: Work[_T], *, write: bool, short: bool = False) -> _T: ...

    async def exists(self, tenant: str) -> bool: ...

    async def delete(self, tenant: str) -> None: ...

    async def migrate(self, tenant: str) -> None: ...

    async def settle(self, tenant: str) -> None: ...

    async def compact(self, tenant: str) -> None: ...

    async def count_on(self, table: str, column: str, highest: int) -> None: ...

    async def aclose(self) -> None: ...


class TenantDatabases:
    """The databases of one service, given out by tenant.

    `url` None means a SQLite file per tenant under `data`; otherwise it is a PostgreSQL URL. Belongs to one event
    loop. A tenant has one writer at a time on both databases; it sees all that writers before it committed.
    """

    def __init__(self, schema: Schema, *, data: Path, url: str | None = None, max_open: int = 128) -> None:
        self.schema = schema
        self._turns = Turns()
        self._closed: set[str] = set()
        self._databases = _databases(schema, data, url, max_open)

    @property
    def in_files(self) -> bool:
        """Whether each tenant has a file of its own, rather than rows beside others'."""
        return isinstance(self._databases, SQLiteFiles)

    @asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncGenerator[Connection]:
        """Open the tenant's writing transaction: committed at the end, undone when anything raises."""
        connection = await self.begin(tenant)
        try:
            yield connection
            await connection.commit()
        finally:
            await connection.aclose()

    @asynccontextmanager
    async def reading(self, tenant: str, *, even_shut: bool = False) -> AsyncGenerator[Connection]:
        """Open a reading transaction of the tenant: one snapshot on SQLite, and no statement can write."""
        known = _checked(tenant) if even_shut else self._open(tenant)
        connection = await self._databases.begin(known, write=False, ended=no_turn)
        try:
            yield connection
        finally:
            await connection.aclose()

    async def begin(self, tenant: str) -> Connection:
        """Begin the tenant's writing transaction; the caller commits or closes it."""
        await self._turns.take(self._open(tenant))
        try:
            self._open(tenant)
            return await self._databases.begin(tenant, write=True, ended=lambda: self._turns.give_back(tenant))
        except BaseException:
            self._turns.give_back(tenant)
            raise

    async def write(self, tenant: str, work: Work[_T], *, short: bool = False, even_shut: bool = False) -> _T:
        """Do a writing transaction in one trip to a thread, and return what it returns; undone when it raises.

        `work` is given the connection and awaits nothing but its statements, savepoints left out: many short
        transactions cost a third of what a trip a statement costs. `short` is what takes well under a millisecond
        however much the tenant has, a few small rows found by key: a tenant's file is worth no trip for that, and it
        is done in the event loop's own thread, unless it would have to wait there.
        """
        known = _checked if even_shut else self._open
        await self._turns.take(known(tenant))
        try:
            return await self._databases.at_once(known(tenant), work, write=True, short=short)
        finally:
            self._turns.give_back(tenant)

    async def read(self, tenant: str, work: Work[_T], *, short: bool = False, even_shut: bool = False) -> _T:
        """Do a reading transaction in one trip to a thread, as `write` does a writing one."""
        known = _checked(tenant) if even_shut else self._open(tenant)
        return await self._databases.at_once(known, work, write=False, short=short)

    async def exists(self, tenant: str) -> bool:
        """Return whether anything of the tenant is kept here."""
        return await self._databases.exists(_checked(tenant))

    async def may_hold(self, tenant: str) -> bool:
        """Return whether anything of the tenant is kept here, or a transaction under way may be about to keep some."""
        return not self.in_files or await self.exists(tenant)

    async def delete(self, tenant: str) -> None:
        """Delete all that the service keeps of the tenant; harmless when there is nothing."""
        _checked(tenant)
        await self._turns.take(tenant)
        try:
            await self._databases.delete(tenant)
        finally:
            self._turns.give_back(tenant)

    async def migrate(self, tenant: str) -> None:
        """Bring the tenant's database to the newest revision, making it when it isn't there."""
        await self._databases.migrate(self._open(tenant))

    async def settle(self, tenant: str) -> None:
        """Leave nothing of what was deleted in the files beside a SQLite database, as far as no reader needs it."""
        await self._databases.settle(_checked(tenant))

    async def compact(self, tenant: str) -> None:
        """Give the room of much that was deleted back; the tenant's writers wait meanwhile.

        Raises `Unavailable` where it can't be given back now.
        """
        await self._turns.take(self._open(tenant))
        try:
            await self._databases.compact(self._open(tenant))
        finally:
            self._turns.give_back(tenant)

    async def count_on(self, table: str, column: str, highest: int) -> None:
        """Have the numbers that the database gives to a table's rows go on after one that was brought along."""
        await self._databases.count_on(table, column, highest)

    def shut(self, tenant: str) -> None:
        """Refuse every transaction of a tenant that begins from now on, lest one make anew what is being deleted."""
        self._closed.add(_checked(tenant))

    def unshut(self, tenant: str) -> None:
        """Give out transactions of a tenant again."""
        self._closed.discard(tenant)

    async def aclose(self) -> None:
        """Close everything that is open."""
        await self._databases.aclose()

    def _open(self, tenant: str) -> str:
        if _checked(tenant) in self._closed:
            raise NotFound("The tenant is being deleted")
        return tenant


def _databases(schema: Schema, data: Path, url: str | None, max_open: int) -> _Databases:
    if url is None:
        return SQLiteFiles(schema, data, max_open=max_open)
    # psycopg costs memory that a service on SQLite never uses.
    from tausestack.database.postgres import PostgresTables

    return PostgresTables(schema, url, data)


def _checked(tenant: str) -> str:
    return tenant if tenant == SYSTEM_TENANT else check_tenant(tenant)
