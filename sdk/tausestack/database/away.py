"""Where a database's failures are born as errors of ours: it is away, full or busy, and its caller may come again.

What is wrong with a statement stays the defect that it is. Each error says `away="database"`, by which the gateway
knows it from the failures of tools.
"""

from __future__ import annotations

import errno
import sqlite3
import sys

import structlog
from sqlalchemy.exc import DBAPIError

from tausestack.errors import InDoubt, TauseError, Unavailable

_FULL = {sqlite3.SQLITE_FULL}
_AWAY = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
}  # fmt: skip
_PRIMARY = 0xFF
"""The part of SQLite's code that says what kind of failure it is."""
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_AWAY = {errno.EIO, errno.EROFS, errno.ENFILE, errno.EMFILE, errno.ENODEV, errno.ESTALE}
_PG_DISK_FULL = "53100"

logger = structlog.get_logger("database")


def unavailable(why: str) -> Unavailable:
    """Return the error of a database that does nothing now."""
    return Unavailable(f"{why}: nothing was done, try again", away="database")


class _Telling:
    """Raises `Unavailable` where a database that is away raises within, `InDoubt` where a commit may have happened."""

    __slots__ = ("_committing",)

    def __init__(self, *, committing: bool) -> None:
        self._committing = committing

    def __enter__(self) -> None:
        """Do nothing: each statement comes through here."""

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _where: object) -> None:
        if not isinstance(error, Exception):
            return
        found = _told(error, committing=self._committing)
        if found is not None:
            logger.error("the database is away", error=found.code, reason=str(_orig(error)))
            raise found from error


told_as_away = _Telling(committing=False)
"""For whatever asks the database."""
told_in_commit = _Telling(committing=True)
"""For a commit."""


def _told(error: Exception, *, committing: bool) -> TauseError | None:
    orig = _orig(error)
    if isinstance(orig, OSError):
        return _by_kind(full=orig.errno in _DISK_FULL, away=orig.errno in _DISK_AWAY)
    if isinstance(orig, sqlite3.Error):
        # A commit that SQLite does not do is undone.
        kind = getattr(orig, "sqlite_errorcode", 0) & _PRIMARY
        return _by_kind(full=kind in _FULL, away=kind in _AWAY)
    psycopg = sys.modules.get("psycopg")
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if psycopg is None or not (lost or isinstance(orig, psycopg.OperationalError)):
        return None
    if committing and lost:
        return InDoubt("the database was lost in the midst of a commit: it may have happened", away="database")
    return _by_kind(full=getattr(orig, "sqlstate", None) == _PG_DISK_FULL, away=True)


def _by_kind(*, full: bool, away: bool) -> Unavailable | None:
    if full:
        return unavailable("the database's disk is full")
    return unavailable("the database can't be reached") if away else None


def _orig(error: Exception) -> BaseException:
    """Return what the driver raised."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
