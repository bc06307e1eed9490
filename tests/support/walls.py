"""A stack on PostgreSQL with the matrix's tenants in it, and either wall between them taken out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from benchmarks._postgres import database
from psycopg.sql import SQL, Identifier

from matrix.engine import Matrix
from matrix.subjects import World, world
from remotes import party
from stack import free_port, running

UNFILTERED = Path(__file__).parents[1] / "fakes" / "unfiltered"
BOOKKEEPING = {"alembic_version", "checkpoint_migrations"}
"""The revisions that a schema is at: nothing of a tenant's."""
TABLES = SQL(
    "SELECT n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname LIKE 'tausestack\\_%' AND c.relkind IN ('r', 'p') ORDER BY 1, 2"
)


@dataclass
class OnPostgres:
    """The tenants of a stack on PostgreSQL, and its database as its owner's URL."""

    world: World
    url: str

    @property
    def log(self) -> Path:
        """What the database's server logs."""
        return Path(self.url.partition("?host=")[2]) / "log"


@contextlib.contextmanager
def on_postgres(server: str, folder: Path, **environment: str) -> Iterator[OnPostgres]:
    """Run a stack on a database of its own, with the matrix's tenants in it."""
    port = free_port()
    allowed = f"127.0.0.1:{port}"
    with (
        database(server) as url,
        running(
            folder / "data", TAUSESTACK_DATABASE_URL=url, TAUSESTACK_ALLOWED_PRIVATE_HOSTS=allowed, **environment
        ) as stack,
        party(port, "walls") as served,
    ):
        yield OnPostgres(world(stack, served), url)


@contextlib.contextmanager
def asked(made: World) -> Iterator[Matrix]:
    """Ask of the tenants of a world."""
    matrix = Matrix(made)
    yield matrix
    matrix.close()


def as_superuser(url: str) -> psycopg.Connection[Any]:
    """Open a database as its server's superuser."""
    return psycopg.connect(url.replace("//owner@/", "//postgres@/"), autocommit=True)


def breach(url: str) -> None:
    """Let every policy let everything through."""
    with as_superuser(url) as superuser:
        for schema, table, *_ in superuser.execute(TABLES).fetchall():
            if table not in BOOKKEEPING:
                superuser.execute(
                    SQL("ALTER POLICY tenant ON {}.{} USING (true) WITH CHECK (true)").format(
                        Identifier(schema), Identifier(table)
                    )
                )
