"""The whole stack on PostgreSQL: the main job, two tenants apart, and the wall between them in the database itself."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from archives import PASSPHRASE, Installation
from stack import Stack, Tenant, running
from tausestack.database.mark import make_mark, whose

CANARY = "canary-51c9"
REQUEST = f"Valida el NIT 900.123.456-8 y crea una factura para {CANARY} por 250.000 COP de asesoría"
ROLE = "tausestack_tenant"
SERVICES = ("auth", "registry", "gateway", "agents", "storage", "billing")

_TABLES: LiteralString = (
    "SELECT relnamespace::regnamespace::text, relname, oid::regclass::text, relrowsecurity AND relforcerowsecurity"
    " FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'tausestack\\_%' AND relkind IN ('r', 'p')"
)
BOOKKEEPING = {"alembic_version", "checkpoint_migrations"}
"""The revisions that a schema is at: nothing of a tenant's, and nothing that the tenants' role may read."""


@dataclass
class OnPostgres:
    """A stack on a database of its own, and that database."""

    stack: Stack
    url: str
    acme: Tenant
    globex: Tenant
    held: dict[str, Any]


@pytest.fixture(scope="module")
def place(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A database that its owner, no superuser, starts with, and a data folder."""
    name = f"stack_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(postgres_server, autocommit=True) as superuser:
        superuser.execute(f"CREATE DATABASE {name} OWNER owner")
        yield (
            postgres_server.replace("//postgres@/postgres?", f"//owner@/{name}?"),
            tmp_path_factory.mktemp("postgres") / "data",
        )
        superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def on(place: tuple[str, Path]) -> Iterator[OnPostgres]:
    """The stack, started again elsewhere after a run was held for an approval: what it knows came from the database."""
    url, data = place
    with running(data, TAUSESTACK_DATABASE_URL=url) as stack:
        acme, globex = stack.tenant("acme"), stack.tenant("globex")
        acme.install("colombia")
        acme.must("storage/put_json", {"key": CANARY, "value": {"n": 1, "ñ": "Bogotá"}})
        held = acme.client.post("/runs", json={"agent": "concierge", "input": REQUEST, "wait": 30}).json()
    data = data.rename(data.with_name("moved"))
    with running(data, TAUSESTACK_DATABASE_URL=url) as stack:
        again = [Tenant(tenant.name, tenant.key, stack.url) for tenant in (acme, globex)]
        yield OnPostgres(stack, url, *again, held)


@pytest.mark.covers("postgres:main-job")
def test_the_main_job_is_done_over_a_restart(on: OnPostgres) -> None:
    acme, run = on.acme, on.held
    assert acme.must("colombia/validate_nit", {"nit": "900123456-8"})["valid"] is True
    assert acme.must("storage/get_json", {"key": CANARY})["value"] == {"n": 1, "ñ": "Bogotá"}
    bill = {"customer_id": "c1", "items": [{"description": "té", "quantity": 1, "unit_price_minor": 25_000_000_000}]}
    first, again = (acme.must("billing/create_invoice", bill, key="order-1") for _ in range(2))
    assert first == again
    other = acme.call("billing/create_invoice", {**bill, "customer_id": "c2"}, key="order-1")
    assert other.json()["code"] == "idempotency_key_reused"

    assert run["status"] == "interrupted", run
    waiting = acme.client.get("/approvals").json()["approvals"]
    assert [(one["id"], one["status"]) for one in waiting] == [(run["interrupt"]["approval"], "pending")]
    assert [one["id"] for one in acme.must("billing/list_invoices", {})["invoices"]] == [first["id"]]
    ended = acme.client.post(f"/runs/{run['id']}/resume", json={"decision": {"approve": True}, "wait": 30}).json()
    assert ended["status"] == "success", ended
    invoices = acme.must("billing/list_invoices", {})["invoices"]
    assert sorted(one["customer_id"] for one in invoices) == ["c1", CANARY]
    assert acme.client.get("/audit/verify").json()["ok"] is True


@pytest.mark.covers("start:database-unsaid")
def test_who_forgets_to_name_the_database_is_told_and_nothing_is_taken_for_empty(
    on: OnPostgres, tmp_path: Path
) -> None:
    backup, passphrase = tmp_path / "backup.tar", {"TAUSESTACK_PASSPHRASE": "correct horse battery staple"}
    elsewhere = tmp_path / "data"
    shutil.copytree(on.stack.data / "tenants", elsewhere / "tenants")
    for command in (
        ("backup", str(backup)),
        ("tenant", "export", "acme", str(backup)),
        ("db", "status"),
        ("db", "migrate"),
        ("up", "--port", "0", "--data", str(elsewhere)),
    ):
        refused = on.stack.cli(*command, check=False, **passphrase)
        assert refused.returncode == 1, command
        assert "are in PostgreSQL: give its URL" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert not backup.exists()
    assert "are in PostgreSQL" in on.stack.cli("doctor", "--json", check=False).stdout


_LOST_IN_COMMIT: LiteralString = """
    CREATE FUNCTION public.dies() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON tausestack_storage.documents DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.key = 'dies') EXECUTE FUNCTION public.dies()
"""


@pytest.mark.covers("errors:away")
def test_a_write_whose_commit_is_not_answered_is_in_doubt_and_done_once_under_its_key(on: OnPostgres) -> None:
    document = {"key": "dies", "value": {"n": 1}}
    with psycopg.connect(on.url.replace("//owner@", "//postgres@"), autocommit=True) as superuser:
        superuser.execute(_LOST_IN_COMMIT)
        try:
            doubted = on.acme.call("storage/put_json", document, key="order-9")
            told = on.acme.rpc("tools/call", {"name": "storage__put_json", "arguments": document}).json()
        finally:
            superuser.execute("DROP FUNCTION public.dies() CASCADE")
    assert (doubted.status_code, doubted.json()["code"]) == (409, "in_doubt"), doubted.text
    assert told["error"]["data"]["code"] == "in_doubt", told
    ends = [one for one in on.acme.client.get("/audit?limit=10").json()["entries"] if one["kind"] == "result"]
    assert {one["outcome"] for one in ends if one["tool"] == "put_json"} == {"in_doubt"}
    assert on.acme.must("storage/put_json", document, key="order-9")["created"] is True
    assert on.acme.must("storage/put_json", document, key="order-9")["created"] is True


@pytest.mark.covers("start:database-anothers")
def test_another_installation_is_refused_by_everything_that_opens_the_database(on: OnPostgres, tmp_path: Path) -> None:
    backup, other = tmp_path / "backup.tar", Installation(tmp_path / "data", on.url).founded()
    mark = (on.stack.data / "installation.id").read_text().strip()
    on.stack.cli("backup", str(backup), TAUSESTACK_DATABASE_URL=on.url, TAUSESTACK_PASSPHRASE=PASSPHRASE)
    for command in (
        ("up", "--port", "0"),
        ("backup", str(tmp_path / "none.tar")),
        ("tenant", "export", "acme", str(tmp_path / "none.tar")),
        ("db", "status"),
        ("db", "migrate"),
    ):
        refused = other.cli(*command, check=False)
        assert refused.returncode == 1, command
        (line,) = [line for line in refused.stderr.splitlines() if not line.startswith("{")]
        assert f"belongs to another installation ({mark})" in line
    assert not (tmp_path / "none.tar").exists()
    refused = Installation(tmp_path / "restored", on.url).cli("restore", str(backup), check=False)
    assert (refused.returncode, "restore into an empty one" in refused.stderr) == (1, True)
    assert not (tmp_path / "restored" / "secret.key").exists()
    told = on.stack.cli("doctor", "--json", check=False, TAUSESTACK_DATABASE_URL=on.url)
    assert "another installation" not in told.stdout
    assert on.acme.client.get("/agents").status_code == 200


@pytest.mark.covers("start:database-anothers")
def test_a_worker_works_for_the_stack_behind_its_door_and_on_no_other_database(
    on: OnPostgres, stack: Stack, postgres_url: str, tmp_path: Path
) -> None:
    other, fresh = Installation(tmp_path / "other").founded(), tmp_path / "fresh"
    make_mark(other.data)
    assert whose(other.data, postgres_url) is None
    for data, url, of, why in (
        (fresh, postgres_url, on.stack, "belongs to another installation"),
        (other.data, on.url, on.stack, "the folder of another stack's worker"),
        (tmp_path / "third", on.url, stack, "keeps its data in files"),
    ):
        door = next((of.data / "run").glob("gateway.sock"))
        secret = (of.data / "secret.key").read_text().strip()
        worker = Installation(data, url)
        refused = worker.cli("worker", "--gateway", str(door), check=False, TAUSESTACK_SECRET_KEY=secret)
        assert (refused.returncode, why in refused.stderr) == (1, True), refused.stderr


@pytest.mark.covers("postgres:two-tenants")
def test_another_tenant_sees_nothing_of_it(on: OnPostgres) -> None:
    acme, globex = on.acme, on.globex
    for path in ("/tools", "/servers", "/runs", "/approvals", "/usage", "/audit?limit=500", "/keys", "/agents"):
        mine, theirs = acme.client.get(path), globex.client.get(path)
        assert mine.status_code == theirs.status_code == 200, path
        assert CANARY not in theirs.text, path
        assert "acme" not in theirs.text, path
        assert path == "/agents" or "colombia/" not in theirs.text, path  # what comes built in names it for everybody
    assert globex.must("storage/list_keys", {})["keys"] == []
    assert globex.must("billing/list_invoices", {})["invoices"] == []
    assert globex.call("storage/get_json", {"key": CANARY}).json()["cause"] == "not_found"
    assert globex.call("colombia/validate_nit", {"nit": "900123456-8"}).status_code == 404
    run = on.held["id"]
    for path, absent in ((f"/runs/{run}", f"/runs/{'x' * len(run)}"), ("/servers/colombia", "/servers/colombiz")):
        theirs, nobodys = globex.client.get(path), globex.client.get(absent)
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json().keys() == nobodys.json().keys()
    refused = globex.client.post(f"/runs/{run}/resume", json={"decision": {"approve": True}})
    assert refused.status_code == 404
    # The same names are theirs as well.
    globex.must("storage/put_json", {"key": CANARY, "value": {"n": 2}})
    bill = {"customer_id": "z", "items": [{"description": "z", "quantity": 1, "unit_price_minor": 1}]}
    assert globex.must("billing/create_invoice", bill, key="order-1")["number"] == "INV-000001"
    assert acme.must("storage/get_json", {"key": CANARY})["value"]["n"] == 1


@pytest.mark.covers("postgres:walls")
def test_every_table_is_walled_and_no_tenant_means_no_rows(on: OnPostgres) -> None:
    on.globex.must("storage/put_json", {"key": "mine", "value": {}})
    on.acme.must("billing/list_invoices", {})
    with psycopg.connect(on.url) as owner, psycopg.connect(_as_superuser(on.url)) as superuser:
        tables = owner.execute(_TABLES).fetchall()
        walled = [(schema, full) for schema, name, full, _ in tables if name not in BOOKKEEPING]
        assert {schema for schema, _ in walled} >= {f"tausestack_{name}" for name in SERVICES}
        assert [full for _, name, full, forced in tables if not forced and name not in BOOKKEEPING] == []

        filled = [full for _, full in walled if superuser.execute(f"SELECT 1 FROM {full} LIMIT 1").fetchone()]
        assert len(filled) > len(SERVICES)
        owner.execute(f"SET ROLE {ROLE}")
        for _, full in walled:
            assert owner.execute(f"SELECT count(*) FROM {full}").fetchone() == (0,), full
        owner.execute("SELECT set_config('app.tenant', 'globex', true)")
        kept = owner.execute("SELECT key FROM tausestack_storage.documents WHERE key <> %s", [CANARY]).fetchall()
        assert kept == [("mine",)]
        seen = [repr(owner.execute(f"SELECT * FROM {full}").fetchall()) for _, full in walled]
        assert not [rows for rows in seen if "acme" in rows]
        for _, name, full, _ in tables:
            readable = owner.execute("SELECT has_table_privilege(%s, 'SELECT')", [full]).fetchone()
            assert readable == (name not in BOOKKEEPING,), full


@pytest.mark.covers("postgres:no-files")
def test_the_data_folder_keeps_no_tenants_rows(on: OnPostgres) -> None:
    on.acme.must("storage/put_json", {"key": "kept", "value": {CANARY: CANARY}})
    assert not list(on.stack.data.rglob("tenants/*/*.db*"))
    assert not [path for path in on.stack.data.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert CANARY not in on.stack.log.read_text()


@pytest.mark.covers("postgres:reconnects")
def test_calls_go_on_after_the_database_ended_every_connection(on: OnPostgres) -> None:
    on.acme.must("storage/put_json", {"key": "before", "value": {}})
    with psycopg.connect(_as_superuser(on.url), autocommit=True) as superuser:
        ended = superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
        assert ended
    assert on.acme.must("storage/list_keys", {"prefix": "bef"})["keys"] == ["before"]
    on.acme.must("storage/put_json", {"key": "after", "value": {}})
    assert on.acme.client.get("/approvals").status_code == 200
    run = on.acme.client.post(
        "/runs", json={"agent": "concierge", "input": "¿es válido el NIT 900.123.456-8?", "wait": 30}
    )
    assert run.json()["status"] == "success", run.text


@pytest.mark.covers("postgres:same-answers")
def test_what_its_text_cannot_hold_is_refused_and_not_broken_on(on: OnPostgres) -> None:
    for body in ({"input": "hola\0"}, {"input": "hola", "thread": "t\0"}):
        refused = on.acme.client.post("/runs", json={"agent": "concierge", **body})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments"), refused.text
    assert on.acme.client.get("/runs/run%00").status_code == 422
    on.acme.must("storage/put_json", {"key": "nul", "value": {"x": "a\0b", "n": 2**53 - 1}})
    assert on.acme.must("storage/get_json", {"key": "nul"})["value"] == {"x": "a\0b", "n": 2**53 - 1}
    for key in ("order/b", "order/A", "order/_", "order/a-1", "order/a.1"):
        on.acme.must("storage/put_json", {"key": key, "value": {}})
    listed = on.acme.must("storage/list_keys", {"prefix": "order/"})["keys"]
    assert listed == sorted(listed)
    with psycopg.connect(on.url) as owner:
        collations = owner.execute(
            "SELECT DISTINCT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation"
            " WHERE attrelid IN ('tausestack_storage.documents'::regclass, 'tausestack_agents.runs'::regclass)"
            " AND attnum > 0"
        ).fetchall()
    assert collations == [("C",)]


def _as_superuser(url: str) -> str:
    return url.replace("//owner@/", "//postgres@/")
