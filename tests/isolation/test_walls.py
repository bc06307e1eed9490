"""Two walls on PostgreSQL, the application's filter and row-level security: either alone keeps tenants apart."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

import tausestack_agents
import tausestack_registry
import tausestack_toolservers
from matrix.machine import run
from walls import BOOKKEEPING, TABLES, UNFILTERED, OnPostgres, as_superuser, asked, breach, on_postgres

SERVICES = (tausestack_agents, tausestack_registry, tausestack_toolservers)
ROLE = "tausestack_tenant"
ENTER = "SELECT set_config('app.tenant', %s, true), set_config('role', %s, true)"


@pytest.mark.timeout(180)
@pytest.mark.covers("isolation:database-alone")
def test_the_database_alone_keeps_tenants_apart(unfiltered: OnPostgres) -> None:
    with asked(unfiltered.world) as matrix:
        run(matrix, 300)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.covers("isolation:database-alone")
def test_the_database_alone_keeps_tenants_apart_for_long(
    unfiltered: OnPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled(), asked(unfiltered.world) as matrix:
        run(matrix, 100_000)


@pytest.mark.covers("isolation:tables-are-walled")
def test_every_table_is_walled(unfiltered: OnPostgres) -> None:
    with as_superuser(unfiltered.url) as superuser:
        tables = [row for row in superuser.execute(TABLES).fetchall() if row[1] not in BOOKKEEPING]
        assert len({schema for schema, *_ in tables}) >= 7
        assert any(schema.endswith("_checkpoints") for schema, *_ in tables)
        for schema, table, enabled, forced, owner in tables:
            name = f"{schema}.{table}"
            assert enabled, name
            assert forced, name
            assert owner == "owner", name
            column = "thread_id" if schema.endswith("_checkpoints") else "tenant"
            is_needed = superuser.execute(
                "SELECT attnotnull FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s", [name, column]
            ).fetchone()
            assert is_needed == (True,), name
            policies = superuser.execute(
                "SELECT cmd, permissive, qual, with_check FROM pg_policies WHERE schemaname = %s AND tablename = %s",
                [schema, table],
            ).fetchall()
            assert len(policies) == 1, name
            assert policies[0][:2] == ("ALL", "PERMISSIVE"), name
            for rule in policies[0][2:]:
                assert "NULLIF(current_setting('app.tenant'::text, true), ''::text)" in rule, name
        role = "SELECT rolsuper, rolbypassrls, rolcanlogin, rolcreaterole FROM pg_roles WHERE rolname = %s"
        assert superuser.execute(role, [ROLE]).fetchone() == (False, False, False, False)
        assert superuser.execute(
            "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall() == []  # fmt: skip
        views = "SELECT viewname FROM pg_views WHERE schemaname LIKE 'tausestack\\_%'"
        assert superuser.execute(SQL(views)).fetchall() == []


@pytest.mark.covers("isolation:tables-are-walled")
def test_no_verb_on_any_table_reaches_another_tenant(unfiltered: OnPostgres) -> None:
    made, url = unfiltered.world, unfiltered.url
    own, other = made.subjects[0].name, made.subjects[1].name
    filled = 0
    with as_superuser(url) as superuser, psycopg.connect(url, autocommit=True) as owner:
        for schema, table, *_ in superuser.execute(TABLES).fetchall():
            if table in BOOKKEEPING:
                continue
            name = SQL("{}.{}").format(Identifier(schema), Identifier(table))
            tenant = SQL("split_part(thread_id, ':', 1)" if schema.endswith("_checkpoints") else "tenant")
            counted = SQL("SELECT count(*) FROM {} WHERE {} = %s").format(name, tenant)
            rows = superuser.execute(counted, [own]).fetchone()
            assert rows is not None
            filled += rows[0] > 0
            for acting, wanted in (("", 0), (other, 0), (own, rows[0])):
                with contextlib.suppress(_Undone), owner.transaction():
                    owner.execute(
                        "SELECT set_config('app.tenant', %s, true), set_config('role', %s, true)", [acting, ROLE]
                    )
                    assert owner.execute(counted, [own]).fetchone() == (wanted,), name
                    if acting == "":
                        assert owner.execute(SQL("SELECT count(*) FROM {}").format(name)).fetchone() == (0,)
                    _insert(superuser, owner, name, tenant, own, is_own=acting == own)
                    column = SQL("thread_id" if schema.endswith("_checkpoints") else "tenant")
                    touched = SQL("UPDATE {} SET {} = {} WHERE {} = %s").format(name, column, column, tenant)
                    assert owner.execute(touched, [own]).rowcount == wanted
                    owner.execute("SET CONSTRAINTS ALL DEFERRED")
                    assert (
                        owner.execute(SQL("DELETE FROM {} WHERE {} = %s").format(name, tenant), [own]).rowcount
                        == wanted
                    )
                    raise _Undone
    assert filled >= 15


class _Undone(Exception):
    """Undoes what was tried."""


def _insert(superuser: Any, owner: Any, name: Any, tenant: Any, own: str, *, is_own: bool) -> None:
    """Insert a row of the tenant's anew: refused by the wall, and for the tenant itself only because it is there."""
    one = SQL("SELECT to_jsonb(t) FROM {} t WHERE {} = %s LIMIT 1").format(name, tenant)
    row = superuser.execute(one, [own]).fetchone()
    if row is None:
        return
    again = SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::{}, %s)")
    refused = psycopg.errors.UniqueViolation if is_own else psycopg.errors.InsufficientPrivilege
    with pytest.raises(refused), owner.transaction():
        owner.execute(again.format(name, name), [Jsonb(row[0])])


@pytest.mark.covers("isolation:tables-are-walled")
def test_no_service_writes_sql_that_the_filter_could_miss() -> None:
    places = [Path(package.__path__[0]) for package in SERVICES]
    written = [path for place in places for path in place.rglob("*.py") if "migrations" not in path.parts]
    assert len(written) > 50
    # LangGraph's own tables are not the kit's: what stands between tenants there is the policy, and their own files.
    for path in (path for path in written if not path.name.endswith("_checkpoints.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(sa|sqlalchemy)\.text\(|exec_driver_sql|literal_column|sqlite3", text), path.name


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.covers("isolation:filter-alone")
def test_the_applications_filter_alone_keeps_tenants_apart(
    postgres_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_postgres(postgres_server, tmp_path) as on, asked(on.world) as matrix:
        breach(on.url)
        with capsys.disabled():
            run(matrix, 20_000)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.covers("isolation:matrix-sees")
def test_without_either_the_matrix_sees_what_leaks(postgres_server: str, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(UNFILTERED)}
    with on_postgres(postgres_server, tmp_path, **environment) as on, asked(on.world) as matrix:
        breach(on.url)
        with pytest.raises(AssertionError, match=r"leak|canary|not \(True"):
            run(matrix, 5_000)
