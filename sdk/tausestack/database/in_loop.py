"""Short transactions in the event loop's own thread, which waits neither for another process nor for the disk.

A trip to a thread costs more than a short transaction. What may wait is kept out of it: a file that is locked is told
at once, and SQLite's log is written into its file, and begun anew, by writers in other threads alone.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TypeVar

import anyio
import sqlalchemy as sa
import structlog

from tausestack.database.away import told_as_away
from tausestack.database.connection import Connection, Work, in_one_trip
from tausestack.database.engines import begin_on, driver_of, is_busy

LONGEST_LOG = 4 * 1024 * 1024
"""With more bytes than this a log is written into its file: SQLite's own thousand pages."""
_CACHE_KIB = 512
_SNAPSHOT = "SELECT 1 FROM sqlite_schema LIMIT 1"

_T = TypeVar("_T")
logger = structlog.get_logger("database")


class Log:
    """The write-ahead log of one file, as its writers know it, of whom there is one at a time."""

    def __init__(self, file: Path) -> None:
        self._path = f"{file}-wal"
        self.is_begun = False
        """Whether the next commit goes on in it: the one that begins it anew waits for the disk."""
        self._written = False

    def goes_on(self) -> bool:
        """Return whether a commit now would only append to it."""
        return self.is_begun and 0 < self._size() <= LONGEST_LOG

    def shorten(self, engine: sa.Engine) -> None:
        """Write a log that is too long into its file, as far as no reader needs it: waits for the disk."""
        if self._size() <= LONGEST_LOG:
            return
        with engine.connect() as raw:
            try:
                self.is_begun = False
                driver_of(raw).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.OperationalError as error:
                # It is only longer than it should be, and the next writer tries again.
                logger.warning("a log could not be written into its file", path=self._path, reason=str(error))

    def noted(self, work: Work[_T]) -> Work[_T]:
        """Return work that notes whether it wrote anything, for `kept`."""

        async def noting(db: Connection) -> _T:
            before = db.driver.total_changes
            result = await work(db)
            self._written = db.driver.total_changes > before
            return result

        return noting

    def kept(self) -> None:
        """Note that such work was committed: if it wrote anything, the log is begun."""
        self.is_begun = self.is_begun or self._written

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size  # noqa: PTH116 a string, made once: it is asked before each write
        except FileNotFoundError:
            return 0


class InLoop:
    """A connection for the short transactions of one file; opened and closed in another thread."""

    def __init__(self, engine: sa.Engine) -> None:
        self._raw = engine.connect()
        self._driver = driver_of(self._raw)
        self._driver.execute("PRAGMA busy_timeout = 0")
        self._driver.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._driver.execute(_SNAPSHOT).fetchone()  # which has it read the schema

    def begin(self, *, write: bool) -> bool:
        """Begin a transaction; False where the file is locked."""
        with told_as_away:
            try:
                begin_on(self._raw, write=write)
                if not write:
                    self._driver.execute(_SNAPSHOT).fetchone()  # nothing that follows can find the file locked
            except sqlite3.OperationalError as error:
                self._end(self._raw)
                if is_busy(error):
                    return False
                raise
        return True

    def do(self, tenant: str, threads: anyio.CapacityLimiter, work: Work[_T], *, write: bool) -> _T:
        """Do the work of the transaction that was begun, and end it."""
        return in_one_trip(tenant, self._raw, threads, work, keep=write, end=self._end)

    def close(self) -> None:
        """Close the connection, which is no other's to go on with."""
        self._raw.invalidate()
        self._raw.close()

    def _end(self, raw: sa.Connection) -> None:
        raw.rollback()
        self._driver.rollback()  # also where the commit failed, after which SQLAlchemy knows of none
