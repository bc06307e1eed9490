"""All tenants' databases of a service at once: which revisions they are at, and bringing them to the newest."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from tausestack.database.files import clear_templates, file_revision, make_template, migrate_file
from tausestack.database.schema import Schema
from tausestack.errors import Unavailable

EVERY = "*"
"""In the place of a tenant: the tables that all tenants share on PostgreSQL."""


@dataclass(frozen=True)
class Standing:
    """Which revision a tenant's database of a service is at; `revision` None: it holds nothing of ours yet."""

    service: str
    tenant: str
    revision: str | None
    head: str
    trouble: str = ""
    """Why its revision can't be told."""

    @property
    def current(self) -> bool:
        """Whether it is at the newest revision."""
        return self.revision == self.head


def standings(schema: Schema, data: Path, url: str | None) -> Generator[Standing]:
    """Yield where each database of a service stands, by tenant; nothing is changed, nor made."""
    if url is not None:
        # psycopg costs time and memory that SQLite never needs.
        from tausestack.database.ownership import revision_of

        yield Standing(schema.service, EVERY, revision_of(schema, url), schema.head)
        return
    for path in _files(schema, data):
        tenant = path.parent.name
        try:
            yield Standing(schema.service, tenant, file_revision(path), schema.head)
        except sqlite3.Error as error:
            yield Standing(schema.service, tenant, None, schema.head, f"{type(error).__name__}: {error}")


def bring_up(standing: Standing, schema: Schema, data: Path, url: str | None) -> None:
    """Bring one database to the newest revision: all of the way, or not at all and it raises.

    Killed at any point it has happened or not, and can be done again. Raises `Unavailable` where the database can't
    be brought there.
    """
    if standing.trouble:
        raise Unavailable(standing.trouble)
    if url is not None:
        from tausestack.database.postgres import prepared  # as above

        prepared(schema, url, data)
        return
    path = data / "tenants" / standing.tenant / f"{schema.service}.db"
    try:
        if path.exists():  # a tenant may be deleted meanwhile
            migrate_file(schema, path)
    except DBAPIError as error:
        raise Unavailable(f"{type(error.orig).__name__}: {error.orig}") from error


def renew_template(schema: Schema, data: Path) -> None:
    """Make the template of new tenants' files at the newest revision, and remove those of others."""
    clear_templates(schema, make_template(schema, data))


def _files(schema: Schema, data: Path) -> list[Path]:
    return sorted((data / "tenants").glob(f"*/{schema.service}.db"))
