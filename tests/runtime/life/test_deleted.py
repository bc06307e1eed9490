"""A deleted tenant: nothing of it is left anywhere, whoever dies in the midst of it."""

from __future__ import annotations

import os
import random
import select
import signal
import threading
from pathlib import Path

import httpx2
import pytest

from remotes import eventually
from stack import Stack, Tenant, running

CANARY = "canary-7f3a9c"
HELD = f"Valida el NIT 900.123.456-8 y crea una factura para {CANARY} por 250.000 COP de asesoría"


def fill(stack: Stack, tenant: Tenant) -> None:
    """Leave something of a tenant wherever something can be."""
    tenant.must("storage/put_json", {"key": CANARY, "value": {"said": CANARY}}, key=f"{CANARY}-1")
    bill = {"customer_id": CANARY, "items": [{"description": CANARY, "quantity": 1, "unit_price_minor": 100}]}
    tenant.must("billing/create_invoice", bill, key=f"{CANARY}-2")
    tenant.client.post("/keys", json={"role": "viewer", "name": CANARY})
    tenant.install("colombia")
    tenant.install("pypi:mcp-server-time", name="clock", secrets={"CANARY_TOKEN": CANARY})
    tenant.must("clock/get_current_time", {"timezone": "America/Bogota"})
    written = stack.data / "tenants" / tenant.name / "servers" / "clock" / "deep" / CANARY
    written.parent.mkdir()
    written.write_text(CANARY)
    asked = {"agent": "concierge", "input": HELD, "wait": 30, "thread": CANARY}
    run = tenant.client.post("/runs", json=asked).json()
    assert run["status"] == "interrupted", run
    assert CANARY in tenant.client.get("/approvals").text


def traces(data: Path, *words: str) -> list[str]:
    """Return where below a data folder any of some words stands, in a name or in a file's bytes."""
    found: list[str] = []
    for path in sorted(data.rglob("*")):
        if "store" in path.relative_to(data).parts[:1]:
            continue  # packages, which all tenants share
        found += [f"{path.name}: its name" for word in words if word in path.name]
        if path.is_file():
            raw = path.read_bytes()
            found += [f"{path.relative_to(data)}: {word}" for word in words if word.encode() in raw]
    return found


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
    verified = again.client.get("/audit/verify").json()
    assert (verified["ok"], verified["lines"], verified["first_bad"]) == (True, 3, None)
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
def test_deletions_cut_off_all_over_are_finished(tmp_path: Path) -> None:
    _killed_in_mid_deletion(tmp_path / "data", kills=25, seed=11)


def _killed_in_mid_deletion(data: Path, *, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"gone-{number}" for number in range(kills)]
    with running(data) as stack:
        for name in names:
            tenant = stack.tenant(name)
            tenant.must("storage/put_json", {"key": CANARY, "value": CANARY})
            tenant.must("billing/list_invoices", {})
    for name in names:
        with running(data) as stack:
            if stack.operator("GET", f"tenants/{name}").status_code == 200:
                _delete_and_kill(stack, name, chance.uniform(0, 1.5), stack.process.pid)
                stack.process.wait()
    with running(data) as stack:
        eventually(lambda: _no_deletion_under_way(stack))
        for one in stack.operator("GET", "tenants").json()["tenants"]:  # the kill came before its first step
            assert stack.operator("DELETE", f"tenants/{one['id']}").status_code == 200
    assert traces(data, *names, CANARY) == []


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
