"""SQLAlchemy engines on SQLite files, with transactions that are really SQLite's own."""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

from tausestack.database.away import told_as_away, unavailable

_BUSY_SECONDS = 5
_STATEMENTS = 1000
_WRITES = "tausestack_writes"


def open_engine(path: Path, *, migrating: bool = False, longest_log: int | None = None) -> sa.Engine:
    """Return an engine on a file, whose transactions are `begin`'s.

    pysqlite's own idea of transactions loses updates and leaves half a migration behind, hence autocommit and
    explicit BEGINs. While migrating, foreign keys are not enforced, since SQLite alters tables by copying them.
    `longest_log`: no commit writes the log into the file, which somebody else does once it has so many bytes.
    """

    def connect() -> sqlite3.Connection:
        # mode=rw: a file deleted meanwhile is an error here, not a new, empty database.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        busy = 60 if migrating else _BUSY_SECONDS
        raw = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=busy)
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = NORMAL")
        raw.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")
        if longest_log is not None:
            raw.execute("PRAGMA wal_autocheckpoint = 0")
            raw.execute(f"PRAGMA journal_size_limit = {longest_log}")  # so that its size tells how long it is
        return raw

    # Without a bound on the pool: waiting for a connection would hold a thread that the holder needs to end.
    pattern, statements = _pattern()
    opening: Any = connect  # the protocol for drivers' connections names more than sqlite3's has
    pool = sa.QueuePool(opening, pool_size=2, max_overflow=-1, dialect=pattern.dialect)
    return sa.Engine(
        pool,
        pattern.dialect,
        pattern.url,
        hide_parameters=True,  # an error is logged, and a tenant's data is not
        execution_options={"preserve_rowcount": True, "compiled_cache": statements},
    )


@cache
def _pattern() -> tuple[sa.Engine, LRUCache[Any, Any]]:
    """Return what the engines of all files have in common: the dialect, and the statements that were compiled for it.

    Compiled for each tenant's file they would cost memory for each, and a tenant's first calls milliseconds.
    """
    engine = sa.create_engine("sqlite://")
    with engine.connect():  # which has the dialect look at its driver
        return engine, LRUCache(_STATEMENTS)


def begin(engine: sa.Engine, *, write: bool) -> sa.Connection:
    """Return a connection in a transaction: BEGIN IMMEDIATE to write, else BEGIN, within which nothing can write."""
    with told_as_away:
        raw = engine.connect()
        try:
            begin_on(raw, write=write)
        except sqlite3.OperationalError as error:
            raw.close()
            if is_busy(error):
                raise unavailable("the tenant's database is busy") from error
            raise
        return raw


def begin_on(raw: sa.Connection, *, write: bool) -> None:
    """Begin a transaction on a connection that is in none."""
    # By the driver itself: these cost as much through SQLAlchemy as the rest of a short transaction.
    driver = driver_of(raw)
    if raw.info.get(_WRITES) is not write:
        driver.execute(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
        raw.info[_WRITES] = write
    driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    raw.begin()


def driver_of(raw: sa.Connection) -> sqlite3.Connection:
    """Return the driver's own connection."""
    driver = raw.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def is_busy(error: sqlite3.OperationalError) -> bool:
    """Return whether somebody else has locked the file."""
    return "lock" in str(error)
