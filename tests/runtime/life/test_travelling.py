"""A tenant that moves: all of it in one file, which another installation takes in, and goes on with."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from benchmarks._postgres import database
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from archives import PASSPHRASE, Installation, changed, plain, read
from filled import CANARY, fill, traces
from remotes import eventually
from stack import Stack, Tenant, running
from tausestack.errors import Conflict, TauseError
from tausestack_runtime.keys import Masters
from tausestack_runtime.ledger.line import FIRST_HASH, link, parted
from tausestack_runtime.ledger.verifying import verify

SECRET = "canary-secret-51b0e4"
PERSON = {"id": "ana", "name": "Ana", "roles": ["admin"], "password": "a long enough passphrase"}


def _moved(stack: Stack, name: str, folder: Path, *arguments: str, new: str | None = None) -> dict[str, Any]:
    """Export a tenant, delete it, and import it again, on a stack that runs all the while."""
    file = folder / "tenant.tar"
    stack.cli("tenant", "export", name, str(file), TAUSESTACK_PASSPHRASE=PASSPHRASE)
    stack.cli("tenant", "delete", name, "--yes")
    assert traces(stack.data, name, SECRET) == []
    renamed = ["--as", new] if new else []
    done = stack.cli("tenant", "import", str(file), *renamed, *arguments, "--json", TAUSESTACK_PASSPHRASE=PASSPHRASE)
    return json.loads(done.stdout)


def _filled(stack: Stack, name: str) -> tuple[Tenant, dict[str, Any]]:
    tenant = stack.tenant(name, plan="premium", name="Ácme & Co")
    fill(stack, tenant)
    tenant.client.patch("/servers/clock", json={"secrets": {"CANARY_TOKEN": SECRET}})
    stack.cli("tenant", "set", name, "calls_per_minute=50000", "legacy_anonymous=true")
    return tenant, _seen(tenant)


def _seen(tenant: Tenant) -> dict[str, Any]:
    """Return what a tenant's own admin finds."""
    paths = ("/servers", "/runs", "/approvals", "/keys")
    found: dict[str, Any] = {path: tenant.client.get(path).json() for path in paths}
    for key in found["/keys"]["keys"]:
        del key["last_used_at"]
    found["invoices"] = tenant.must("billing/list_invoices", {})
    found["document"] = tenant.must("storage/get_json", {"key": CANARY})
    found["limit"] = tenant.client.get("/limits").json()["limits"]["calls_per_minute"]["limit"]
    return found


def _goes_on(tenant: Tenant) -> None:
    """See that a run goes on, and that third parties' servers do, fetched again where they have to be."""
    _run_goes_on(tenant)
    assert tenant.must("clock/get_current_time", {"timezone": "America/Bogota"})


def _run_goes_on(tenant: Tenant) -> None:
    """See that a run that waited for a person goes on where it was, its thread after it, and keys are known."""
    held = next(one for one in tenant.client.get("/approvals").json()["approvals"] if one["status"] == "pending")
    decided = tenant.client.post(f"/approvals/{held['id']}", json={"decision": "approve"})
    assert decided.status_code == 200, decided.text
    (run,) = tenant.client.get("/runs").json()["runs"]
    eventually(lambda: tenant.client.get(f"/runs/{run['id']}").json()["status"] in {"success", "error"})
    ended = tenant.client.get(f"/runs/{run['id']}").json()
    assert ended["status"] == "success", ended
    asked = {"agent": "concierge", "input": "¿Es válido el NIT 900.123.456-8?", "thread": CANARY, "wait": 30}
    following = tenant.client.post("/runs", json=asked).json()
    assert following["status"] == "success", following
    bill = {"customer_id": CANARY, "items": [{"description": CANARY, "quantity": 1, "unit_price_minor": 100}]}
    number = len(tenant.must("billing/list_invoices", {})["invoices"])
    assert tenant.must("billing/create_invoice", bill, key=f"{CANARY}-2")  # it was made by this key before
    assert len(tenant.must("billing/list_invoices", {})["invoices"]) == number
    assert tenant.client.get("/audit/verify").json()["ok"] is True


@pytest.mark.covers("life:moved", "life:moved-secrets", "life:moved-ledger")
@pytest.mark.usefixtures("clock_at_hand")
def test_a_tenant_that_was_exported_is_there_again_once_it_is_imported(stack: Stack, tmp_path: Path) -> None:
    tenant, before = _filled(stack, f"mover-{os.getpid()}")
    other = stack.tenant()
    other.must("storage/put_json", {"key": "others-canary-90aa", "value": "others-canary-90aa"})
    chain = tenant.client.get("/audit/verify").json()
    moved = _moved(stack, tenant.name, tmp_path)
    assert moved["tenant"]["plan"] == "premium"

    # Nothing of anybody else's is in it, and no secret that could be read.
    inside = plain(tmp_path / "tenant.tar")
    assert CANARY.encode() in inside
    for word in (SECRET, tenant.key, other.name, "others-canary-90aa", other.key.split("_")[1]):
        assert word.encode() not in inside, word
    assert (tmp_path / "tenant.tar").stat().st_mode & 0o077 == 0

    after = _seen(tenant)
    assert after == before
    shown = stack.cli_json("tenant", "show", tenant.name)
    assert (shown["name"], shown["legacy_anonymous"]) == ("Ácme & Co", True)
    written = stack.data / "tenants" / tenant.name / "servers" / "clock" / "deep" / CANARY
    assert written.read_text() == CANARY
    assert other.must("storage/get_json", {"key": "others-canary-90aa"})["value"] == "others-canary-90aa"

    verified = tenant.client.get("/audit/verify").json()
    assert verified["ok"] is True
    lines = (stack.data / "tenants" / tenant.name / "ledger.jsonl").read_bytes().splitlines()[1:]
    left = read(tmp_path / "tenant.tar")["0.ledger"]
    assert lines[: len(left)] == left
    assert len(left) >= chain["lines"]
    imported = orjson.loads(lines[len(left)])
    assert (imported["kind"], imported["result_digest"]) == ("imported", orjson.loads(left[-1])["hash"])
    _goes_on(tenant)


@pytest.mark.soak
@pytest.mark.covers("life:moved-renamed")
@pytest.mark.usefixtures("clock_at_hand")
def test_a_tenant_may_have_another_id_where_it_arrives(stack: Stack, tmp_path: Path) -> None:
    old, new = f"former-{os.getpid()}", f"later-{os.getpid()}"
    tenant, before = _filled(stack, old)
    _moved(stack, old, tmp_path, new=new)
    assert tenant.client.get("/tools").status_code == 404
    renamed = Tenant(new, tenant.key, stack.url)
    assert {**_seen(renamed), "/servers": 0} == {**before, "/servers": 0}
    _goes_on(renamed)


@pytest.fixture(scope="module")
def exported(
    stack: Stack, clock_at_hand: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tenant, dict[str, Any], Path]:
    """A tenant that stays as it is, what its admin finds, and its export."""
    tenant, before = _filled(stack, f"stays-{os.getpid()}")
    file = tmp_path_factory.mktemp("exported") / "tenant.tar"
    stack.cli("tenant", "export", tenant.name, str(file), TAUSESTACK_PASSPHRASE=PASSPHRASE)
    return tenant, before, file


@pytest.mark.covers("life:moved-databases", "life:import-whole")
def test_tenants_move_between_both_databases_and_back(
    exported: tuple[Tenant, dict[str, Any], Path], tmp_path: Path, postgres_url: str
) -> None:
    tenant, _, first = exported
    on_postgres = Installation(tmp_path / "postgres", postgres_url).founded()
    on_postgres.take(first)
    second = on_postgres.give(tenant.name, tmp_path / "second")
    files = Installation(tmp_path / "files").founded()
    files.take(second)
    third = files.give(tenant.name, tmp_path / "third")
    assert _records(second) == _records(first)
    assert _records(third) == _records(first)
    for place in (files, on_postgres):
        with pytest.raises(Conflict, match="there already"):
            place.take(first)
        with pytest.raises(Conflict, match="API keys are in use by another tenant here"):
            place.take(first, "another")
        assert [one["id"] for one in place.within(lambda here: here.every_tenant())] == [tenant.name]


@pytest.mark.covers("life:moved-renamed", "life:moved-ledger")
def test_the_ledger_of_a_renamed_tenant_is_one_that_anybody_can_make_of_the_file(
    exported: tuple[Tenant, dict[str, Any], Path], tmp_path: Path
) -> None:
    _, _, file = exported
    here = Installation(tmp_path / "here").founded()
    here.take(file, "renamed")
    previous, made = FIRST_HASH, list[bytes]()
    for raw in read(file)["0.ledger"]:
        said = orjson.loads(raw)
        del said["hash"]
        previous = link(previous, orjson.dumps({**said, "tenant": "renamed"})[:-1])
        made.append(previous)
    kept = (here.data / "tenants" / "renamed" / "ledger.jsonl").read_bytes().splitlines(keepends=True)[1:]
    hashes = [found[1] for raw in kept if (found := parted(raw)) is not None]
    assert hashes[: len(made)] == made
    last = orjson.loads(kept[-1])
    assert (last["kind"], last["rule"]) == ("imported", "renamed")
    keys = [Masters(here.data).current.subkey("ledger")]
    assert verify(here.data, keys, "renamed").ok
    threads = {orjson.loads(line)["thread"] for line in read(file)["0.agents-beside"]}
    assert threads
    again = here.give("renamed", tmp_path / "again.tar")
    assert {orjson.loads(line)["thread"] for line in read(again)["0.agents-beside"]} == threads


@pytest.mark.covers("life:backup", "life:moved-secrets")
def test_a_backup_is_restored_where_nothing_is_and_starts(
    exported: tuple[Tenant, dict[str, Any], Path], tmp_path: Path
) -> None:
    tenant, before, file = exported
    here, backup = Installation(tmp_path / "here").founded(), tmp_path / "backup"
    here.take(file)
    here.cli("backup", str(backup))
    assert SECRET.encode() not in plain(backup)
    restored = Installation(tmp_path / "restored")
    assert restored.must("restore", str(backup))["tenants"] == 1
    over = restored.cli("restore", str(backup), check=False)
    assert (over.returncode, "empty folder" in over.stderr) == (1, True)
    with running(restored.data) as stack:
        moved = Tenant(tenant.name, tenant.key, stack.url)
        assert _seen(moved) == before
        _run_goes_on(moved)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.covers("life:moved-databases", "life:backup")
def test_a_stack_on_postgresql_is_backed_up_restored_and_goes_on(
    exported: tuple[Tenant, dict[str, Any], Path], tmp_path: Path, postgres_server: str
) -> None:
    tenant, before, file = exported
    backup = tmp_path / "backup"
    with database(postgres_server) as url, running(tmp_path / "one", TAUSESTACK_DATABASE_URL=url) as one:
        given = {"TAUSESTACK_PASSPHRASE": PASSPHRASE, "TAUSESTACK_DATABASE_URL": url}
        one.tenant("neighbour").must("storage/put_json", {"key": "mine", "value": 1})
        one.cli("tenant", "import", str(file), **given)
        moved = Tenant(tenant.name, tenant.key, one.url)
        assert _seen(moved) == before
        one.cli("backup", str(backup), **given)
        _goes_on(moved)
    with database(postgres_server) as url:
        there = Installation(tmp_path / "two", url)
        assert there.must("restore", str(backup))["tenants"] == 2
        with running(there.data, TAUSESTACK_DATABASE_URL=url) as two:
            again = Tenant(tenant.name, tenant.key, two.url)
            assert _seen(again) == before
            _goes_on(again)


def _records(path: Path) -> dict[str, list[bytes]]:
    """Return what is in an archive, without what each installation adds or seals anew."""
    return {part: sorted(filter(None, map(_record, lines))) for part, lines in read(path).items()}


def _record(line: bytes) -> bytes:
    one = orjson.loads(line)
    if one.get("kind") == "imported":
        return b""
    if one.get("table") == "secrets":
        del one["row"]["sealed"], one["row"]["version"]
    if "checkpoint" in one:  # each saver has an order of its own
        one["checkpoint"] = _unpacked(one["type"], one["checkpoint"])
        one["writes"] = [[task, channel, _unpacked(kind, raw)] for task, channel, kind, raw in one["writes"]]
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS, default=lambda sent: [sent.node, sent.arg])


def _unpacked(kind: str, raw: str) -> Any:
    return JsonPlusSerializer(allowed_msgpack_modules=None).loads_typed((kind, base64.b64decode(raw)))


@pytest.mark.covers("life:moved-older")
def test_rows_of_an_older_release_go_through_its_revisions(stack: Stack, tmp_path: Path) -> None:
    name = f"older-{os.getpid()}"
    tenant = stack.tenant(name)
    tenant.must("storage/put_json", {"key": CANARY, "value": "old"})
    file = tmp_path / "now.tar"
    stack.cli("tenant", "export", name, str(file), TAUSESTACK_PASSPHRASE=PASSPHRASE)

    def older(told: dict[str, Any], parts: dict[tuple[int, str], list[bytes]]) -> None:
        told["parts"]["storage"]["revision"] = "0001"
        parts[0, "storage"] = [line for line in parts[0, "storage"] if b'"totals"' not in line]

    here = Installation(tmp_path / "here").founded()
    here.take(changed(file, tmp_path / "old.tar", older))
    rows = [orjson.loads(line) for line in read(here.give(name, tmp_path / "again.tar"))["0.storage"]]
    assert {one["table"] for one in rows} >= {"documents", "totals"}

    def newer(told: dict[str, Any], parts: dict[tuple[int, str], list[bytes]]) -> None:
        told["parts"]["storage"]["revision"] = "9999"

    with pytest.raises(TauseError, match="this release"):
        Installation(tmp_path / "other").founded().take(changed(file, tmp_path / "new.tar", newer))
