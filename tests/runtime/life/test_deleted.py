"""A deleted tenant: nothing of it is left anywhere, whoever dies in the midst of it."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from benchmarks._postgres import database
from psycopg.sql import SQL, Identifier

from filled import CANARY, fill, traces
from remotes import eventually
from stack import Stack, running
from walls import TABLES, as_superuser


def open_below(stack: Stack, tenant: str) -> list[str]:
    """Return the files of a tenant that any process of the stack holds open, removed ones too."""
    found: list[str] = []
    for pid in _descendants(stack.process.pid):
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                name = str(fd.readlink())
            except FileNotFoundError:
                continue
            if f"/tenants/{tenant}/" in name:
                found.append(f"{pid}: {name}")
    return found


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [pid], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


@pytest.mark.covers("life:deleted", "life:receipt", "life:id-again")
@pytest.mark.usefixtures("clock_at_hand")
def test_nothing_is_left_of_a_deleted_tenant(stack: Stack) -> None:
    tenant, other = stack.tenant(f"gone-{os.getpid()}"), stack.tenant()
    fill(stack, tenant)
    other.must("storage/put_json", {"key": "mine", "value": 1})
    key = tenant.key.split("_")[1]
    assert traces(stack.data, tenant.name, CANARY, key)

    refused = stack.cli("tenant", "delete", tenant.name, check=False)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    receipt = stack.cli_json("tenant", "delete", tenant.name, "--yes")
    removed = receipt["removed"]
    assert receipt["left"] == {}
    assert removed["storage"].items() >= {"documents": 1, "idempotency_keys": 1}.items()
    assert removed["auth"].items() >= {"api_keys": 2, "_system.key_lookup": 2}.items()
    assert removed["agents"]["runs"] == 1
    assert removed["agents"]["checkpoints"] > 0
    assert removed["registry"]["secrets"] == 1
    assert removed["gateway"]["approvals"] == 1
    assert removed["ledger"]["lines"] > 5
    assert removed["files"]["files"] > 0

    assert traces(stack.data, tenant.name, CANARY, key) == []
    assert open_below(stack, tenant.name) == []
    doctor = stack.operator("GET", "doctor")
    assert tenant.name not in doctor.text
    shown = stack.cli("tenant", "show", tenant.name, check=False)
    assert (shown.returncode, "no tenant" in shown.stderr) == (1, True)
    assert tenant.client.get("/tools").status_code == 401
    stranger, nobodys = (
        httpx2.get(f"{stack.url}/api/v2/tenants/{name}/tools", headers=other.headers)
        for name in (tenant.name, "no-one")
    )
    assert (stranger.status_code, stranger.json()) == (nobodys.status_code, nobodys.json())
    assert other.must("storage/get_json", {"key": "mine"})["value"] == 1
    assert other.client.get("/audit/verify").json()["ok"] is True
    twice = stack.operator("DELETE", f"tenants/{tenant.name}")
    assert twice.status_code == 404

    # The id may be used again, and whoever has it then finds nothing of the one before.
    again = stack.tenant(tenant.name)
    assert again.must("storage/list_keys", {})["keys"] == []
    assert again.client.get("/runs").json() == {"runs": []}
    assert again.must("billing/list_invoices", {})["invoices"] == []
    chain = again.client.get("/audit/verify").json()
    assert (chain["ok"], chain["calls"]) == (True, 3)
    assert tenant.client.get("/tools").status_code == 401


@pytest.mark.covers("life:deleted-under-load")
def test_a_tenant_that_is_being_written_to_goes_too(stack: Stack) -> None:
    tenant = stack.tenant(f"busy-{os.getpid()}", plan="enterprise")
    over = threading.Event()
    said: set[int] = set()

    def write(number: int) -> None:
        with httpx2.Client(base_url=tenant.client.base_url, headers=tenant.headers, timeout=30) as client:
            count = 0
            while not over.is_set():
                count += 1
                body = {"key": f"{CANARY}-{number}-{count}", "value": CANARY * 10}
                said.add(client.post("/tools/storage/put_json", json=body).status_code)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    while tenant.client.get("/usage").json()["lines"] < 30:
        select.select([], [], [], 0.02)
    receipt = stack.operator("DELETE", f"tenants/{tenant.name}")
    over.set()
    for writer in writers:
        writer.join(30)
    assert receipt.status_code == 200, receipt.text
    assert said <= {200, 401, 404, 429, 503}, said
    assert traces(stack.data, tenant.name) == []
    assert open_below(stack, tenant.name) == []


@pytest.mark.covers("life:delete-killed")
def test_a_deletion_cut_off_is_finished_by_the_next_gateway(stack: Stack) -> None:
    tenant = stack.tenant(f"cut-{os.getpid()}")
    tenant.must("storage/put_json", {"key": CANARY, "value": CANARY})
    tenant.must("billing/list_invoices", {})
    gateway = stack.operator("GET", "doctor").json()["gateway"]["pid"]
    _delete_and_kill(stack, tenant.name, 0.15, gateway)
    eventually(lambda: _serves(stack))
    eventually(lambda: _no_deletion_under_way(stack))
    if stack.operator("GET", f"tenants/{tenant.name}").status_code == 200:  # the kill came before its first step
        assert stack.operator("DELETE", f"tenants/{tenant.name}").status_code == 200
    assert traces(stack.data, tenant.name) == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.covers("life:delete-killed")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_deletions_cut_off_all_over_are_finished(
    kind: str, tmp_path: Path, postgres_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    with ExitStack() as opened:
        url = opened.enter_context(database(postgres_server)) if kind == "postgresql" else None
        environment = {} if url is None else {"TAUSESTACK_DATABASE_URL": url}
        cut = _killed_in_mid_deletion(tmp_path / "data", kills=25, seed=11, **environment)
        if url is not None:
            assert _rows_with(url, CANARY, "gone-") == []
    with capsys.disabled():
        print(f"\n{kind}: 25 kills, {cut} in the midst of a deletion, {time.monotonic() - begun:.0f} s")


def _rows_with(url: str, *words: str) -> list[str]:
    """Return the tables of a database in which a word stands in any row, behind whatever wall."""
    found: list[str] = []
    with as_superuser(url) as superuser:
        for schema, table, *_ in superuser.execute(TABLES).fetchall():
            name = SQL("{}.{}").format(Identifier(schema), Identifier(table))
            for word in words:
                query = SQL("SELECT count(*) FROM {} t WHERE t::text LIKE %s").format(name)
                row = superuser.execute(query, [f"%{word}%"]).fetchone()
                found += [f"{schema}.{table}: {word}"] if row is None or row[0] else []
    return found


def _killed_in_mid_deletion(data: Path, *, kills: int, seed: int, **environment: str) -> int:
    """Kill the whole stack while it deletes, again and again; return how often that was in the midst of it."""
    chance = random.Random(seed)
    cut = 0
    names = [f"gone-{number}" for number in range(kills)]
    with running(data, **environment) as stack:
        for name in names:
            tenant = stack.tenant(name)
            tenant.must("storage/put_json", {"key": CANARY, "value": CANARY})
            tenant.must("billing/list_invoices", {})
    for name in names:
        with running(data, **environment) as stack:
            cut += any(one["status"] == "deleting" for one in stack.operator("GET", "tenants").json()["tenants"])
            if stack.operator("GET", f"tenants/{name}").status_code == 200:
                _delete_and_kill(stack, name, chance.uniform(0, 1.5), stack.process.pid)
                stack.process.wait()
    with running(data, **environment) as stack:
        eventually(lambda: _no_deletion_under_way(stack))
        for one in stack.operator("GET", "tenants").json()["tenants"]:  # the kill came before its first step
            assert stack.operator("DELETE", f"tenants/{one['id']}").status_code == 200
        told = json.loads(stack.cli("doctor", "--json", **environment).stdout)["checks"]
        assert next(one["value"] for one in told if one["check"] == "left of deleted tenants") == "nothing"
    assert traces(data, *names, CANARY) == []
    return cut


def _delete_and_kill(stack: Stack, name: str, seconds: float, pid: int) -> None:
    def delete() -> None:
        try:
            stack.operator("DELETE", f"tenants/{name}")
        except httpx2.HTTPError:
            return  # as it should be

    deleting = threading.Thread(target=delete)
    deleting.start()
    select.select([], [], [], seconds)
    os.kill(pid, signal.SIGKILL)
    deleting.join()


def _serves(stack: Stack) -> bool:
    try:
        return httpx2.get(f"{stack.url}/health/ready").status_code == 200
    except httpx2.HTTPError:
        return False


def _no_deletion_under_way(stack: Stack) -> bool:
    return all(one["status"] == "active" for one in stack.operator("GET", "tenants").json()["tenants"])
