"""One transaction of one tenant, the same face on both databases."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.exc import DataError

from tausestack.database.away import told_as_away, told_in_commit
from tausestack.errors import InvalidRequest

Row: TypeAlias = sa.Row[*tuple[Any, ...]]
Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

_T = TypeVar("_T")


async def in_thread(threads: anyio.CapacityLimiter, work: Callable[[], _T]) -> _T:
    """Run blocking work in a worker thread, out of a limited number of them."""
    return await anyio.to_thread.run_sync(work, limiter=threads)


def no_turn() -> None:
    """Give nothing back when a transaction ends: for those that took no turn."""


class Outcome(NamedTuple):
    """What a statement gave: its rows, and how many rows it changed."""

    rows: list[Row]
    changed: int

    @classmethod
    def of(cls, result: sa.CursorResult[*tuple[Any, ...]]) -> Outcome:
        """Read a result to its end."""
        return cls(list(result.all()) if result.returns_rows else [], result.rowcount)


class Connection:
    """A tenant's open transaction; each statement runs in a worker thread.

    Statements of several tasks take turns. What is not committed when it is closed is undone. On both databases a
    failed statement may leave the transaction unusable: what may fail and go on stands in a `savepoint`.
    """

    def __init__(
        self, tenant: str, raw: sa.Connection, threads: anyio.CapacityLimiter, ended: Callable[[], None]
    ) -> None:
        self.tenant = tenant
        self._raw = raw
        self._threads = threads
        self._ended = ended
        self._open = True
        self._turn = anyio.Lock()
        self._savepoints = itertools.count(1)

    @property
    def dialect(self) -> str:
        """Which database it is: `sqlite` or `postgresql`."""
        return self._raw.dialect.name

    @property
    def driver(self) -> Any:
        """The driver's own connection, for a library that brings its SQL along: only within `write` and `read`."""
        return self._raw.connection.driver_connection

    async def execute(self, statement: sa.Executable, parameters: Parameters = None) -> list[Row]:
        """Run a statement and return all its rows."""
        return (await self._outcome(statement, parameters)).rows

    async def one(self, statement: sa.Executable, parameters: Parameters = None) -> Row | None:
        """Run a statement and return its first row, or None."""
        rows = await self.execute(statement, parameters)
        return rows[0] if rows else None

    async def scalar(self, statement: sa.Executable, parameters: Parameters = None) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        row = await self.one(statement, parameters)
        return None if row is None else row[0]

    async def stream(self, statement: sa.Executable, *, at_once: int) -> AsyncGenerator[Row]:
        """Yield a statement's rows, of which no more than some are held at once; others may ask in between."""
        options: dict[str, Any] = {"stream_results": True, "max_row_buffer": at_once}
        async with self._turn:
            self._check_open()
            with told_as_away:
                result = await in_thread(self._threads, lambda: self._raw.execute(statement, execution_options=options))
        try:
            more = True
            while more:
                async with self._turn:
                    self._check_open()
                    with told_as_away:
                        rows = await in_thread(self._threads, lambda: result.fetchmany(at_once))
                for row in rows:
                    yield row
                more = len(rows) == at_once
        finally:
            with anyio.CancelScope(shield=True):
                async with self._turn:
                    if self._open:
                        await in_thread(self._threads, result.close)

    async def change(self, statement: sa.Executable, parameters: Parameters = None) -> int:
        """Run a statement and return how many rows it changed."""
        return (await self._outcome(statement, parameters)).changed

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[None]:
        """Undo what is done within, and only that, when it raises."""
        name = f"s{next(self._savepoints)}"
        await self.execute(sa.text(f"SAVEPOINT {name}"))
        try:
            yield
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.execute(sa.text(f"ROLLBACK TO SAVEPOINT {name}"))
            raise
        await self.execute(sa.text(f"RELEASE SAVEPOINT {name}"))

    async def wipe(self) -> None:
        """Have what is deleted overwritten and not only unlinked: where it lies in a file of SQLite that stays."""
        if self.dialect == "sqlite":
            await self.execute(sa.text("PRAGMA secure_delete = ON"))

    async def commit(self) -> None:
        """Make the transaction lasting and close it; when this raises, nothing was kept, but for `InDoubt`."""
        self._check_open()
        with anyio.CancelScope(shield=True):
            try:
                async with self._turn:
                    with told_in_commit:
                        await in_thread(self._threads, self._raw.commit)
            finally:
                await self.aclose()

    async def aclose(self) -> None:
        """Close the transaction, undoing it unless it was committed; closing twice is harmless."""
        if not self._open:
            return
        self._open = False
        with anyio.CancelScope(shield=True):
            try:
                async with self._turn:
                    await in_thread(self._threads, self._raw.close)
            finally:
                self._ended()

    async def _outcome(self, statement: sa.Executable, parameters: Parameters) -> Outcome:
        async with self._turn:
            self._check_open()
            return await in_thread(self._threads, lambda: self._done(statement, parameters))

    def _done(self, statement: sa.Executable, parameters: Parameters) -> Outcome:
        try:
            with told_as_away:
                return Outcome.of(self._raw.execute(statement, parameters))
        except DataError as error:
            if "NUL" in str(error.orig):  # PostgreSQL's text has none; no other sign says that it was this
                raise InvalidRequest("Text with the character U+0000 is neither kept nor found here") from error
            raise

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the transaction has ended")


class _Inline(Connection):
    """A transaction whose statements run in the very thread that asks: its methods never wait."""

    async def _outcome(self, statement: sa.Executable, parameters: Parameters) -> Outcome:
        return self._done(statement, parameters)


Work: TypeAlias = Callable[[Connection], Coroutine[Any, Any, _T]]
"""What is done in one transaction in one trip to a thread; it awaits nothing but its connection's statements."""


def in_one_trip(
    tenant: str,
    raw: sa.Connection,
    threads: anyio.CapacityLimiter,
    work: Work[_T],
    *,
    keep: bool,
    end: Callable[[sa.Connection], None] = sa.Connection.close,
) -> _T:
    """Do all of a transaction's work in this thread, commit it if it is to be kept, and `end` it."""
    try:
        coroutine = work(_Inline(tenant, raw, threads, no_turn))
        try:
            with told_as_away:  # also of what asks the driver itself
                coroutine.send(None)
        except StopIteration as ended:
            result: _T = ended.value
        else:
            coroutine.close()
            raise RuntimeError("work in one trip awaits nothing but its own statements")
        if keep:
            with told_in_commit:
                raw.commit()
        return result
    finally:
        end(raw)
