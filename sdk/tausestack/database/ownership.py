"""What the owner of a PostgreSQL database does before any tenant comes: schema, role, revisions."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import OperationalError

from tausestack.database.mark import foreign
from tausestack.database.schema import Schema
from tausestack.errors import Unavailable

TENANT_ROLE = "tausestack_tenant"
"""The PostgreSQL role that tenants' transactions run under; it can't bypass row-level security."""

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('tausestack/migrations', 0))")

# Roles belong to the whole cluster, so another database's owner may be making this one just now. An owner who is no
# superuser must be granted the role that it is to take.
_MAKE_ROLE = f"""
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{TENANT_ROLE}') THEN
        BEGIN
            CREATE ROLE {TENANT_ROLE} NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            RAISE NOTICE 'the role was made meanwhile';
        END;
    END IF;
    BEGIN
        SET LOCAL ROLE {TENANT_ROLE};
        SET LOCAL ROLE NONE;
    EXCEPTION WHEN insufficient_privilege THEN
        GRANT {TENANT_ROLE} TO CURRENT_USER;
    END;
END
$$
"""

_ROLE_BYPASSES = sa.text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = :role")

_UNGUARDED = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = CAST(:name AS regnamespace) AND relkind IN ('r', 'p')"
    " AND relname <> 'alembic_version' AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname"
)


def schema_name(schema: Schema) -> str:
    """Return the PostgreSQL schema that holds a service's tables."""
    return "tausestack_" + schema.service.replace("-", "_")


logger = structlog.get_logger("database")


def prepare(schema: Schema, url: sa.URL, data: Path) -> None:
    """Bring a service's tables to the newest revision, all of the way or not at all; one process at a time.

    Raises `Unavailable` where the database is another installation's than that in the data folder.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as raw:
        with raw.begin():  # by itself: who asks whose it is waits for no migration
            why = foreign(raw, data)
        if why is not None:
            logger.error("the database is another installation's", why=why)
            raise Unavailable("the database belongs to another installation: the log says what to do", away="database")
        _bring_up(schema, raw)


def _bring_up(schema: Schema, raw: sa.Connection) -> None:
    with raw.begin():
        raw.execute(_LOCK)
        name = schema_name(schema)
        if _revision(raw, name) != schema.head:
            _migrate(schema, name, raw)
        if raw.scalar(_ROLE_BYPASSES, {"role": TENANT_ROLE}) is not False:
            raise RuntimeError(f"the role {TENANT_ROLE} can bypass row-level security: refused")
        unguarded = raw.scalars(_UNGUARDED, {"name": name}).all()
        if unguarded:
            raise RuntimeError(f"no row-level security on {', '.join(unguarded)}: use create_tenant_table")


def revision_of(schema: Schema, url: str) -> str | None:
    """Return the revision that a service's tables are at, None where there are none; changes nothing.

    Raises `Unavailable` where the database can't be reached.
    """
    try:
        with owner_engine(url).connect() as raw:
            return _revision(raw, schema_name(schema))
    except OperationalError as error:
        raise Unavailable("the database can't be reached") from error


def owner_engine(url: str) -> sa.Engine:
    """Return an engine that opens a connection each time, as the role of the URL: the owner of all tables."""
    return sa.create_engine(psycopg_url(url), poolclass=sa.NullPool, hide_parameters=True)


def psycopg_url(url: str) -> sa.URL:
    """Return a PostgreSQL URL for the driver that is used, or raise `ValueError`."""
    parsed = sa.make_url(url)
    if parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError("the database's URL must be one of PostgreSQL: postgresql://user@host/name")
    return parsed.set(drivername="postgresql+psycopg")


def _migrate(schema: Schema, name: str, raw: sa.Connection) -> None:
    # As on SQLite: Alembic is only for what is stale.
    from tausestack.database.upgrade import upgrade

    raw.exec_driver_sql(_MAKE_ROLE)
    raw.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{name}"')
    raw.exec_driver_sql(f'GRANT USAGE ON SCHEMA "{name}" TO {TENANT_ROLE}')
    raw.exec_driver_sql(f'SET LOCAL search_path TO "{name}"')
    upgrade(schema, raw, schema_name=name)


def _revision(raw: sa.Connection, name: str) -> str | None:
    if raw.scalar(sa.text("SELECT to_regclass(:table)"), {"table": f'"{name}".alembic_version'}) is None:
        return None
    return raw.scalar(sa.text(f'SELECT version_num FROM "{name}".alembic_version'))  # noqa: S608 - a checked name
