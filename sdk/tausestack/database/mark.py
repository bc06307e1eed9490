"""Whose a PostgreSQL database is: it bears the mark of the installation that opened it first, and no other opens it.

An installation's mark lies in its data folder, so it goes where the folder goes, and follows from no key: a folder that
was moved and masters that were rotated change nothing.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import LiteralString

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tausestack.errors import Unavailable
from tausestack.names import SYSTEM_TENANT

MARK_FILE = "installation.id"
CONNECT_SECONDS = 5
"""How long a server may take to take a connection before it counts as away."""

# In a schema that is no role's name, lest it lead that role's search path.
# By a query, which sees what was committed before it: what looks a name up may remember that there was none.
IS_MARKED: LiteralString = (
    "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = '_tausestack' AND tablename = 'installation')"
)
MARK: LiteralString = "SELECT id FROM _tausestack.installation"
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('tausestack/installation', 0))")
_IS_EMPTY = sa.text(r"SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname LIKE 'tausestack\_%')")
_MAKE = (
    sa.text("CREATE SCHEMA IF NOT EXISTS _tausestack"),
    sa.text("CREATE TABLE _tausestack.installation (id text NOT NULL, one bool PRIMARY KEY DEFAULT true CHECK (one))"),
)
_SET = sa.text("INSERT INTO _tausestack.installation (id) VALUES (:id)")


def own_mark(data: Path) -> str | None:
    """Return the mark of the installation in a data folder, None where it has none."""
    try:
        return (data / MARK_FILE).read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def make_mark(data: Path, mark: str | None = None) -> str:
    """Return the mark of the installation in a data folder; one that has none is given one, a new one by default."""
    path = data / MARK_FILE
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    if (known := own_mark(data)) is not None:
        return known
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{mark or secrets.token_hex(8)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another start made it meanwhile
            path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
    return own_mark(data) or ""


def foreign(raw: sa.Connection, data: Path) -> str | None:
    """Return why a database is not that of the installation in a folder and what to do about it, None where it is.

    One that nobody has marked is marked as that installation's. The caller commits.
    """
    own = own_mark(data)
    mark = _mark_of(raw)
    if mark is None and own is not None:
        raw.execute(_LOCK)
        mark = _mark_of(raw)
    name = raw.engine.url.database
    if mark is None:
        if own is None:
            return None
        if raw.scalar(_IS_EMPTY) and any(each.name != SYSTEM_TENANT for each in data.glob("tenants/*/")):
            return (
                f"the tenants of {data} are not in the database '{name}', which is empty: give the URL of theirs in "
                "TAUSESTACK_DATABASE_URL or by --database-url, none where they are in files, or another data folder"
            )
        for statement in _MAKE:
            raw.execute(statement)
        raw.execute(_SET, {"id": own})
        return None
    if mark == own:
        return None
    return (
        f"the database '{name}' belongs to another installation ({mark}) than {data} ({own or 'a new one'}): name that "
        "one's data folder with --data, or another database with --database-url; only where that folder is lost for "
        f"good, write {mark} into {data / MARK_FILE}"
    )


def whose(data: Path, url: str) -> str | None:
    """Return what `foreign` says of the database at a URL, or raise `Unavailable` where it can't be reached."""
    from tausestack.database.ownership import psycopg_url

    engine = sa.create_engine(
        psycopg_url(url),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    try:
        with engine.begin() as raw:
            return foreign(raw, data)
    except OperationalError as error:
        raise Unavailable("the database can't be reached") from error


def _mark_of(raw: sa.Connection) -> str | None:
    return str(raw.scalar(sa.text(MARK))) if raw.scalar(sa.text(IS_MARKED)) else None
