"""Tenants' databases on SQLite: a file per tenant and service."""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
import sqlalchemy as sa

from tausestack.database.away import told_as_away
from tausestack.database.connection import Connection, Work, in_one_trip, in_thread
from tausestack.database.engines import begin, open_engine
from tausestack.database.files import current_file, empty_log, give_back, remove_file
from tausestack.database.in_loop import LONGEST_LOG, InLoop, Log
from tausestack.database.schema import Schema
from tausestack.errors import Unavailable

_THREADS = 4
"""More would be in each other's way: a short transaction is mostly work of Python, which one thread does at a time."""
_IN_A_ROW = 8
"""With each so-manieth short transaction the event loop turns, lest one task keep it by one after the other."""

_T = TypeVar("_T")


@dataclass
class _Opened:
    path: Path
    users: int = 0
    engine: sa.Engine | None = None
    inode: int = 0
    in_loop: InLoop | None = None
    is_gone: bool = False
    """Whether it was closed for good, though some may still be at it."""
    opening: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self.log = Log(self.path)
        self._place = str(self.path)

    def is_current(self) -> bool:
        """Return whether the file that is open is the one that is there: a few microseconds, so no worker thread."""
        return self.engine is not None and self.inode == _inode(self._place)

    def quick(self, *, write: bool) -> InLoop | None:
        """Return where a short transaction was begun in this very thread; None where that might wait."""
        quick = self.in_loop
        if quick is None or not self.is_current() or (write and not self.log.goes_on()):
            return None
        return quick if quick.begin(write=write) else None


class SQLiteFiles:
    """The tenants' files of one service, at most `max_open` of them open while idle."""

    def __init__(self, schema: Schema, data: Path, *, max_open: int) -> None:
        self._schema = schema
        self._data = data
        self._max_open = max_open
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        # Its own threads: tools that fill the usual ones can't keep a transaction from ending.
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._in_a_row = 0

    async def begin(self, tenant: str, *, write: bool, ended: Callable[[], None]) -> Connection:
        """Begin a transaction; `ended` is called once when it has ended, not when this raises."""
        opened = self._used(tenant)
        try:
            await self._evict()
            engine = await self._engine(opened)
            raw = await in_thread(self._threads, lambda: _begun(opened.log, engine, write=write))
        except BaseException:
            opened.users -= 1
            raise

        def end() -> None:
            opened.users -= 1
            ended()

        return Connection(tenant, raw, self._threads, end)

    async def at_once(self, tenant: str, work: Work[_T], *, write: bool, short: bool = False) -> _T:
        """Do a whole transaction in one trip to a thread; a short one in none, where it can't have to wait."""
        opened = self._used(tenant)
        try:
            await self._evict()
            if short:
                await self._yield()
                if (quick := opened.quick(write=write)) is not None:
                    return quick.do(tenant, self._threads, work, write=write)
            engine = await self._engine(opened, short=short)
            if write:
                work = opened.log.noted(work)
            result = await in_thread(
                self._threads,
                lambda: in_one_trip(tenant, _begun(opened.log, engine, write=write), self._threads, work, keep=write),
            )
            if write:
                opened.log.kept()
            return result
        finally:
            opened.users -= 1

    async def exists(self, tenant: str) -> bool:
        """Return whether the tenant's file is there."""
        return await in_thread(self._threads, self._path(tenant).exists)

    async def delete(self, tenant: str) -> None:
        """Delete the tenant's file; readers that are at it end on what they see."""
        opened = self._opened.pop(tenant, None)
        if opened is not None:
            await self._close(opened)
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
            await self._close(each)

    async def _yield(self) -> None:
        """Let others have the event loop now and then; a task that was cancelled ends here in any case."""
        self._in_a_row = (self._in_a_row + 1) % _IN_A_ROW
        if self._in_a_row:
            await anyio.lowlevel.checkpoint_if_cancelled()
        else:
            await anyio.lowlevel.checkpoint()

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

    async def _engine(self, opened: _Opened, *, short: bool = False) -> sa.Engine:
        """Return the engine of the file that is there now: one deleted or put back from outside is opened anew.

        For `short` transactions there is a connection beside it from now on.
        """
        path = opened.path
        if opened.engine is not None and opened.is_current() and not (short and opened.in_loop is None):
            return opened.engine
        async with opened.opening:
            if opened.engine is None or not opened.is_current():
                await self._close(opened, for_good=False)
                with told_as_away:
                    await in_thread(self._threads, lambda: current_file(self._schema, self._data, path))
                opened.engine, opened.inode = open_engine(path, longest_log=LONGEST_LOG), _inode(str(path))
                opened.log.is_begun = False
            engine = opened.engine
            if short and opened.in_loop is None and not opened.is_gone:
                with told_as_away:
                    opened.in_loop = await in_thread(self._threads, lambda: InLoop(engine))
                if opened.is_gone:
                    await self._close(opened)
            return engine

    async def _evict(self) -> None:
        """Close the longest unused files above the bound, those in use excepted."""
        excess = len(self._opened) - self._max_open
        if excess <= 0:
            return
        idle = [tenant for tenant, opened in self._opened.items() if not opened.users][:excess]
        closed = [self._opened.pop(tenant) for tenant in idle]
        with anyio.CancelScope(shield=True):
            for opened in closed:
                await self._close(opened)

    async def _close(self, opened: _Opened, *, for_good: bool = True) -> None:
        """Close a file, once who is at it has ended."""
        quick, engine = opened.in_loop, opened.engine
        opened.in_loop, opened.engine, opened.is_gone = None, None, for_good

        def close() -> None:
            if quick is not None:
                quick.close()
            if engine is not None:
                engine.dispose()

        if engine is not None:
            await in_thread(self._threads, close)


def _begun(log: Log, engine: sa.Engine, *, write: bool) -> sa.Connection:
    """Begin a transaction; a writer that finds the log too long shortens it first."""
    if write:
        log.shorten(engine)
    return begin(engine, write=write)


def _inode(path: str) -> int:
    """Return which file stands at a path, 0 for none."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 it is asked before each transaction, and a `Path` costs more than that
    except FileNotFoundError:
        return 0
