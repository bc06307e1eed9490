"""Tenants' databases on SQLite: a file per tenant and service."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import sqlalchemy as sa

from tausestack.database.connection import Connection, Work, in_one_trip, in_thread
from tausestack.database.engines import begin, open_engine
from tausestack.database.files import current_file, empty_log, give_back, remove_file
from tausestack.database.schema import Schema
from tausestack.errors import Unavailable

_THREADS = 4
"""More would be in each other's way: a short transaction is mostly work of Python, which one thread does at a time."""

_T = TypeVar("_T")


@dataclass
class _Opened:
    path: Path
    users: int = 0
    engine: sa.Engine | None = None
    inode: int = 0
    opening: anyio.Lock = field(default_factory=anyio.Lock)


class SQLiteFiles:
    """The tenants' files of one service, at most `max_open` of them open while idle."""

    def __init__(self, schema: Schema, data: Path, *, max_open: int) -> None:
        self._schema = schema
        self._data = data
        self._max_open = max_open
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        # Its own threads: tools that fill the usual ones can't keep a transaction from ending.
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def begin(self, tenant: str, *, write: bool, ended: Callable[[], None]) -> Connection:
        """Begin a transaction; `ended` is called once when it has ended, not when this raises."""
        opened = self._used(tenant)
        try:
            await self._evict()
            engine = await self._engine(opened)
            raw = await in_thread(self._threads, lambda: begin(engine, write=write))
        except BaseException:
            opened.users -= 1
            raise

        def end() -> None:
            opened.users -= 1
            ended()

        return Connection(tenant, raw, self._threads, end)

    async def at_once(self, tenant: str, work: Work[_T], *, write: bool) -> _T:
        """Do a whole transaction in one trip to a thread."""
        opened = self._used(tenant)
        try:
            await self._evict()
            engine = await self._engine(opened)
            return await in_thread(
                self._threads,
                lambda: in_one_trip(tenant, begin(engine, write=write), self._threads, work, keep=write),
            )
        finally:
            opened.users -= 1

    async def exists(self, tenant: str) -> bool:
        """Return whether the tenant's file is there."""
        return await in_thread(self._threads, self._path(tenant).exists)

    async def delete(self, tenant: str) -> None:
        """Delete the tenant's file; readers that are at it end on what they see."""
        opened = self._opened.pop(tenant, None)
        if opened is not None and opened.engine is not None:
            await in_thread(self._threads, opened.engine.dispose)
        await in_thread(self._threads, lambda: remove_file(self._path(tenant)))

    async def migrate(self, tenant: str) -> None:
        """Make the tenant's file current."""
        await in_thread(self._threads, lambda: current_file(self._schema, self._data, self._path(tenant)))

    async def settle(self, tenant: str) -> None:
        """Write a tenant's file whole, and empty the log beside it, unless a reader still needs that."""
        await in_thread(self._threads, lambda: empty_log(self._path(tenant)))

    async def compact(self, tenant: str) -> None:
        """Give the room of what was deleted back."""
        try:
            await in_thread(self._threads, lambda: give_back(self._path(tenant)))
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the room of what was deleted is not given back now: {error}") from error

    async def count_on(self, table: str, column: str, highest: int) -> None:
        """Do nothing: a file's numbers go on after the highest of its rows."""
        del table, column, highest

    async def aclose(self) -> None:
        """Close every file."""
        opened, self._opened = self._opened, OrderedDict()
        for each in opened.values():
            if each.engine is not None:
                await in_thread(self._threads, each.engine.dispose)

    def _used(self, tenant: str) -> _Opened:
        """Return what is open of a tenant's, noted as in use once more."""
        opened = self._opened.get(tenant)
        if opened is None:
            opened = self._opened[tenant] = _Opened(self._path(tenant))
        self._opened.move_to_end(tenant)
        opened.users += 1
        return opened

    def _path(self, tenant: str) -> Path:
        return self._data / "tenants" / tenant / f"{self._schema.service}.db"

    async def _engine(self, opened: _Opened) -> sa.Engine:
        """Return the engine of the file that is there now: one deleted or put back from outside is opened anew."""
        path = opened.path
        if opened.engine is not None and _inode(path) == opened.inode:
            return opened.engine
        async with opened.opening:
            if opened.engine is None or _inode(path) != opened.inode:
                stale, opened.engine = opened.engine, None
                if stale is not None:
                    await in_thread(self._threads, stale.dispose)
                await in_thread(self._threads, lambda: current_file(self._schema, self._data, path))
                opened.engine, opened.inode = open_engine(path), _inode(path)
            return opened.engine

    async def _evict(self) -> None:
        """Close the longest unused files above the bound, those in use excepted."""
        excess = len(self._opened) - self._max_open
        if excess <= 0:
            return
        idle = [tenant for tenant, opened in self._opened.items() if not opened.users][:excess]
        engines = [engine for tenant in idle if (engine := self._opened.pop(tenant).engine) is not None]
        with anyio.CancelScope(shield=True):
            for engine in engines:
                await in_thread(self._threads, engine.dispose)


def _inode(path: Path) -> int:
    """Return which file stands at a path, 0 for none: a few microseconds, so no worker thread."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
