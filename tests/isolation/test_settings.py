"""On PostgreSQL whatever says whose turn it is ends with its transaction: no statement sets anything for a session."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from stack import Stack
from walls import OnPostgres, as_superuser

SETS = re.compile(r"\bset_config\s*\(\s*[^)]*\)|^\s*(?:SET|RESET|DISCARD)\b[^;\n]*", re.IGNORECASE)
LOCAL = re.compile(r"^\s*SET\s+(?:LOCAL|CONSTRAINTS)\b|set_config\s*\([^)]*,\s*(?:true|'t')\s*\)$", re.IGNORECASE)


@pytest.mark.timeout(180)
@pytest.mark.covers("isolation:set-local")
def test_the_whole_stack_sets_nothing_beyond_a_transaction(unfiltered: OnPostgres) -> None:
    """Read what the database was asked by every process of the stack, LangGraph's saver and the gateway among them."""
    stack = unfiltered.world.stack
    with as_superuser(unfiltered.url) as superuser:
        name = Identifier(superuser.info.dbname)
        superuser.execute(SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))
        _renew(superuser)
        before = unfiltered.log.stat().st_size
        _work(stack)
        with unfiltered.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(before)
            text = log.read()
        superuser.execute(SQL("ALTER DATABASE {} RESET log_statement").format(name))
        _renew(superuser)
    asked = re.findall(r"LOG:  (?:statement|execute [^:]*): (.*?)(?=\n\d{4}-|\Z)", text, re.DOTALL)
    assert len(asked) > 100
    assert {"tausestack_agents", "tausestack_storage"} <= set(re.findall(r"tausestack_\w+", text))
    found = [match[0] for one in asked for match in SETS.finditer(one)]
    assert any("app.tenant" in one for one in found)
    assert sorted({one for one in found if not LOCAL.search(one.strip())} - OUR_OWN) == []


OUR_OWN = {"RESET log_statement"}
"""What this test itself asks for."""


def _work(stack: Stack) -> None:
    for number in range(2):
        tenant = stack.tenant(f"settings-{number}")
        tenant.must("storage/put_json", {"key": "k", "value": 1})
        tenant.must("billing/list_plans", {})
        assert tenant.client.get("/servers").status_code == 200
        run = tenant.must("agents/run", {"agent": "concierge", "input": "Guarda una nota", "wait": 30})
        assert run
        stack.operator("POST", f"tenants/{tenant.name}/suspend")
        stack.operator("POST", f"tenants/{tenant.name}/resume")
        stack.operator("DELETE", f"tenants/{tenant.name}")


def _renew(superuser: psycopg.Connection[tuple[object, ...]]) -> None:
    """Have every connection be made anew, with the database's settings of now."""
    superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.covers("isolation:set-local")
def test_the_patterns_tell_a_session_from_a_transaction() -> None:
    for local in ("SET LOCAL role x", "set constraints all deferred", "SELECT set_config('role', 'x', true)"):
        (match,) = SETS.finditer(local)
        assert LOCAL.search(match[0])
    for lasting in ("SET role x", "SET SESSION AUTHORIZATION x", "RESET ALL", "SELECT set_config('role', $1, false)"):
        (match,) = SETS.finditer(lasting)
        assert not LOCAL.search(match[0])
