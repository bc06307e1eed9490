"""Several workers behind one stack, on PostgreSQL: runs are worked on by all, and outlive each of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from benchmarks._postgres import database

from remotes import Party, eventually, party
from stack import TAUSESTACK, Stack, Tenant, free_port, running
from tausestack_runtime.keys import Keys, worker_credential

TENANT_RUNS = 2
MOST_TENANTS = 12
GUARD = {"name": "guard", "instructions": "Check gates.", "tools": ["red/check_gate"]}
_HELD = (
    "SELECT for_tenant, owner FROM tausestack_agents.dispatch"
    " WHERE lease_until >= extract(epoch FROM clock_timestamp())"
)
_HOLDER = "SELECT id, owner FROM tausestack_agents.dispatch WHERE owner <> '' AND for_tenant = %s"
TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
WELL_UNDER_A_LEASE = 10.0
"""Seconds, on a machine that is busy; a lease is renewed each 5 s, and 15 s long."""


@dataclass
class Workers:
    """A stack with two workers, a look into its dispatch table, and a server whose calls wait at a gate."""

    stack: Stack
    superuser: psycopg.Connection[tuple[str, str]]
    red: Party
    most: Counter[str]
    """The most runs that each tenant was seen to have under way."""
    url: str
    """The database's."""

    def figures(self) -> list[dict[str, Any]]:
        """Return what the supervisor knows of the two processes, the first one first; nothing unless both are there."""
        found = [one for one in self.stack.operator("GET", "doctor").json()["services"] if one["name"] == "agents"]
        return sorted(found, key=lambda one: one["number"]) if all(one["pid"] for one in found) else []

    def held(self) -> dict[int, int]:
        """Return how many runs each process holds, and note how many each tenant has under way."""
        rows = self.superuser.execute(_HELD).fetchall()
        self.most |= Counter(tenant for tenant, _ in rows)
        return Counter(int(owner.split(":")[1]) for _, owner in rows)


@pytest.fixture(scope="module")
def workers(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    port = free_port()
    settings = {
        "TAUSESTACK_WORKERS": "2",
        "TAUSESTACK_TENANT_RUNS": str(TENANT_RUNS),
        "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port}",
    }
    data = tmp_path_factory.mktemp("workers") / "data"
    with (
        database(postgres_server) as url,
        running(data, TAUSESTACK_DATABASE_URL=url, **settings) as stack,
        psycopg.connect(url.replace("//owner@/", "//postgres@/"), autocommit=True) as superuser,
        party(port, "red") as red,
    ):
        red.offer_gate()
        yield Workers(stack, superuser, red, Counter(), url)


def guarded(workers: Workers) -> Tenant:
    """Return a tenant with an agent that checks gates."""
    tenant = workers.stack.tenant()
    tenant.install(workers.red.url, name="red")
    assert tenant.client.post("/agents", json=GUARD).status_code == 201
    return tenant


def started(tenant: Tenant, number: int) -> str:
    asked = {"agent": "guard", "input": f'Check the gate "{tenant.name}-{number}"'}
    reply = tenant.client.post("/runs", json=asked)
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def shown(tenant: Tenant, run: str) -> dict[str, Any]:
    return tenant.client.get(f"/runs/{run}").raise_for_status().json()


def ended(tenant: Tenant, run: str) -> bool:
    return shown(tenant, run)["status"] == "success"


def until_the_second_works(workers: Workers, begin: Callable[[Tenant], str]) -> tuple[Tenant, str, str]:
    """Begin one run after another until the second process holds one; return what began it, and its id."""
    second = eventually(workers.figures)[1]["pid"]
    for _ in range(MOST_TENANTS):
        tenant = guarded(workers)
        begun = begin(tenant)
        row = eventually(lambda tenant=tenant: workers.superuser.execute(_HOLDER, [tenant.name]).fetchone())
        eventually(lambda tenant=tenant: f"{tenant.name}-1" in workers.red.at_the_gates())
        if int(row[1].split(":")[1]) == second:
            return tenant, begun, row[0]
        assert tenant.client.post(f"/runs/{row[0]}/cancel").status_code == 200
    raise AssertionError("the first process took all of the runs")


def a_task(tenant: Tenant) -> str:
    given = {"agent": "guard", "input": f'Check the gate "{tenant.name}-1"'}
    reply = tenant.rpc("tools/call", {"name": "agents__run", "arguments": given, "_meta": TASKS})
    return reply.json()["result"]["taskId"]


@pytest.mark.covers("agents:cancel-elsewhere")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["run", "task"])
def test_a_cancel_reaches_the_process_that_works_on_the_run(workers: Workers, way: str) -> None:
    begin = a_task if way == "task" else lambda tenant: started(tenant, 1)
    tenant, begun, run = until_the_second_works(workers, begin)
    eventually(lambda: len(workers.red.at_the_gates()) == workers.red.gone() + 1)
    gone = workers.red.gone()
    asked = time.monotonic()
    if way == "task":
        tenant.rpc("tasks/cancel", {"taskId": begun, "_meta": TASKS})
    else:
        assert tenant.client.post(f"/runs/{run}/cancel").json()["status"] == "cancelled"
    eventually(lambda: workers.red.gone() > gone, WELL_UNDER_A_LEASE)
    print(f"\nits call was cancelled at its server {time.monotonic() - asked:.2f} s after the {way} was")
    found = eventually(lambda: (found := shown(tenant, run))["status"] == "cancelled" and found)
    assert [step["status"] for step in found["steps"]] == ["cancelled"]
    eventually(lambda: workers.superuser.execute(_HOLDER, [tenant.name]).fetchone() is None)


def until_both_work(workers: Workers) -> list[tuple[Tenant, str]]:
    """Start runs of one tenant after another, each more than it may have at once, until both processes hold some."""
    runs: list[tuple[Tenant, str]] = []
    assert not workers.held()
    for number in range(1, MOST_TENANTS + 1):
        tenant = guarded(workers)
        before = len(workers.red.at_the_gates())
        runs += [(tenant, started(tenant, number)) for number in range(TENANT_RUNS + 1)]
        eventually(lambda before=before: len(workers.red.at_the_gates()) == before + TENANT_RUNS)
        held = workers.held()
        assert sum(held.values()) == number * TENANT_RUNS
        if len(held) == 2:
            return runs
    raise AssertionError("one process took all of the runs")


@pytest.mark.covers("agents:workers", "agents:runs-at-once")
@pytest.mark.timeout(300)
def test_two_workers_share_the_runs_and_one_that_is_killed_loses_none(workers: Workers) -> None:
    eventually(workers.figures)
    earlier = len(workers.red.at_the_gates())

    def asked() -> list[str]:
        return workers.red.at_the_gates()[earlier:]

    runs = until_both_work(workers)
    first, second = workers.figures()
    held, before = workers.held(), asked()
    assert set(held) == {first["pid"], second["pid"]}
    assert len(set(before)) == len(before) == sum(held.values()) < len(runs)

    os.kill(second["pid"], signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: len(asked()) == len(before) + held[second["pid"]])
    print(f"\n{held[second['pid']]} runs taken up {time.monotonic() - killed:.2f} s after the kill")
    after = workers.held()
    assert second["pid"] not in after
    assert sum(after.values()) == len(before)

    workers.red.open_gates()
    for tenant, run in runs:
        eventually(lambda tenant=tenant, run=run: workers.held() is not None and ended(tenant, run))
    again = held[second["pid"]]
    assert Counter(Counter(asked()).values()) == {1: len(runs) - again, 2: again}
    assert {workers.most[tenant.name] for tenant, _ in runs} == {TENANT_RUNS}
    checks = json.loads(workers.stack.cli("doctor", "--json", check=False).stdout)["checks"]
    (told,) = [check for check in checks if check["check"] == "workers"]
    assert (told["ok"], told["bound"]) == (True, "2")


@pytest.mark.covers("agents:workers")
def test_on_sqlite_several_workers_are_refused_in_one_line(tmp_path: Path) -> None:
    command = [TAUSESTACK, "up", "--port", "0", "--workers", "2", "--data", str(tmp_path / "data")]
    known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    refused = subprocess.run(command, env=known, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert "2 workers need PostgreSQL" in line
    assert not (tmp_path / "data").exists()


@pytest.fixture
def elsewhere(workers: Workers, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as if on another machine: a folder and a name of its own, the stack's door over TCP alone."""
    door = next((workers.stack.data / "run").glob("gateway.sock"))
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TAUSESTACK_DATABASE_URL": workers.url,
        "TAUSESTACK_SECRET_KEY": (workers.stack.data / "secret.key").read_text().strip(),
        "TAUSESTACK_MACHINE": "elsewhere",
        "TAUSESTACK_TENANT_RUNS": str(TENANT_RUNS),
        "TAUSESTACK_LEASE_SECONDS": "4",
    }
    with tempfile.TemporaryDirectory(prefix="ts-") as folder, carried(door, Path(folder) / "door.sock") as here:
        command = [TAUSESTACK, "worker", "--gateway", str(here), "--data", str(tmp_path / "data")]
        with (tmp_path / "worker.log").open("wb") as log:
            process = subprocess.Popen(command, env=known, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)
            print((tmp_path / "worker.log").read_text()[-2000:])


@contextmanager
def carried(there: Path, here: Path) -> Iterator[Path]:
    """Carry a Unix socket to another path over TCP, as `ssh -L` does."""
    ready, port = threading.Event(), free_port()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Any) -> None:
        up_reader, up_writer = await to()
        with suppress(ConnectionError):
            await asyncio.gather(_copied(reader, up_writer), _copied(up_reader, writer))

    async def serve(stop: asyncio.Event) -> None:
        at_home = await asyncio.start_server(
            lambda r, w: pass_on(r, w, lambda: asyncio.open_unix_connection(there)), "127.0.0.1", port
        )
        away = await asyncio.start_unix_server(
            lambda r, w: pass_on(r, w, lambda: asyncio.open_connection("127.0.0.1", port)), here
        )
        ready.set()
        await stop.wait()
        at_home.close()
        away.close()

    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(stop),))
    thread.start()
    assert ready.wait(20)
    try:
        yield here
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.covers("agents:worker-elsewhere")
@pytest.mark.timeout(300)
def test_a_worker_on_another_machine_works_on_runs_and_what_it_leaves_is_taken_over(
    workers: Workers, elsewhere: subprocess.Popen[bytes]
) -> None:
    eventually(workers.figures)
    workers.red.close_gates()
    mine: list[tuple[Tenant, str]] = []
    begun: list[tuple[Tenant, str]] = []
    for number in range(MOST_TENANTS):
        tenant = guarded(workers)
        run = started(tenant, number)
        row = eventually(lambda tenant=tenant: workers.superuser.execute(_HOLDER, [tenant.name]).fetchone())
        begun.append((tenant, run))
        mine += [(tenant, run)] if row[1].startswith("elsewhere:") else []
        if len(mine) == 2:
            break
    assert len(mine) == 2, "the stack's own workers took all of the runs"
    assert elsewhere.poll() is None
    at_the_gates = {f"{tenant.name}-{number}" for number, (tenant, _) in enumerate(begun)}
    eventually(lambda: at_the_gates <= set(workers.red.at_the_gates()))

    elsewhere.kill()
    killed = time.monotonic()
    names = [tenant.name for tenant, _ in mine]

    def taken_over() -> bool:
        rows = [workers.superuser.execute(_HOLDER, [name]).fetchone() for name in names]
        return all(row is not None and not row[1].startswith("elsewhere:") for row in rows)

    eventually(taken_over, 60)
    print(f"\nits runs were taken up here {time.monotonic() - killed:.2f} s after it was killed there, lease 4 s")
    workers.red.open_gates()
    for tenant, run in begun:
        eventually(lambda tenant=tenant, run=run: ended(tenant, run))
    asked = Counter(workers.red.at_the_gates())
    assert {asked[f"{tenant.name}-{number}"] for number, (tenant, _) in enumerate(begun)} == {1, 2}


@pytest.mark.covers("agents:worker-elsewhere")
def test_a_worker_alone_says_in_one_line_what_it_lacks(tmp_path: Path) -> None:
    known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [TAUSESTACK, "worker", "--gateway", str(tmp_path / "no.sock"), "--data", str(tmp_path / "data")]
    for url, lack in ((None, "needs the stack's PostgreSQL"), ("postgresql://x/y", "is no socket")):
        given = known if url is None else {**known, "TAUSESTACK_DATABASE_URL": url}
        refused = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert lack in line


@pytest.mark.covers("agents:worker-elsewhere")
def test_only_who_has_the_master_secret_is_taken_for_such_a_worker(workers: Workers) -> None:
    door = str(workers.stack.data / "run" / "gateway.sock")
    secret = (workers.stack.data / "secret.key").read_text().strip()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    given = {"tenant": "acme", "principal": "operator", "scopes": [], "agent": "a", "bounds": [], "run": "run_1"}
    params = {"name": "delegate", "arguments": given, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

    def answered(credential: str, transport: httpx2.BaseTransport | None, url: str) -> int:
        headers = {
            "authorization": f"Bearer {credential}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "delegate",
        }
        with httpx2.Client(transport=transport, trust_env=False) as http:
            return http.post(f"{url}/tenants/_system/servers/platform/mcp", json=body, headers=headers).status_code

    def inside() -> httpx2.HTTPTransport:
        return httpx2.HTTPTransport(uds=door)

    good = worker_credential(Keys(secret))
    assert answered(good, inside(), "http://gateway") not in {401, 403}
    for wrong in (worker_credential(Keys("0" * 64)), "tsw_" + "0" * 64, good[:-1], good + "0", good.upper()):
        assert answered(wrong, inside(), "http://gateway") == 401
    assert answered(good, None, workers.stack.url) == 401, "it is good at the internal door alone"
