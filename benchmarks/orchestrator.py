"""What a step of a run costs in the agents process: alone, and with 200 runs of 20 tenants at once.

The tools are in another process, behind a door that answers at once: the wall time of a run alone is the orchestrator's
but for that door. CPU is the agents process's own, all of its threads, and all that a run costs is in it: accepting it,
claiming it, listing and choosing tools, showing it. The agent has so few tools that none are searched for.

A tenant may have fewer runs under way than the process: how many it had is told by the door, which sees a run's first
request, and by the run, which knows when it ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx2

from benchmarks._postgres import database, postgres
from tausestack.contract import META_CALL, Principal
from tausestack.scopes import ROLES
from tausestack.tokens import Signer, server_audience

RIG = Path(__file__).parent / "_rig"
STEPS, TENANTS, RUNS, ALONE = 10, 20, 200, 12
CROWDS = ("b", "c", "d")
TENANT_RUNS = 1
"""How many runs of a tenant may be under way at once: fewer than there is room for, so that the bound holds back."""
FLAT = 1.03
"""By how much resident memory may be more after the last crowd than after the second."""
BOUND_MS = {"sqlite": 6.0, "postgresql": 15.0}
TICKS = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 60.0


def request(name: str) -> str:
    """Return a request of ten steps, each one call."""
    return ". ".join(f'Record a visit of the patient "{name}-{step}"' for step in range(STEPS)) + "."


@dataclass
class Service:
    """The running service."""

    pid: int
    http: httpx2.AsyncClient
    signer: Signer

    async def call(self, tenant: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool as a tenant's admin."""
        principal = Principal(tenant, f"key:{tenant}", ROLES["admin"], role="admin")
        meta: dict[str, Any] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            META_CALL: secrets.token_hex(8),
        }
        headers = {
            "authorization": f"Bearer {self.signer.sign(principal, server_audience('agents'), 600)}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": tool,
        }
        params: dict[str, Any] = {"name": tool, "arguments": arguments, "_meta": meta}
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        text = (await self.http.post("/mcp", json=body, headers=headers)).text
        lines = [line[5:] for line in text.splitlines() if line.startswith("data:")]
        result: dict[str, Any] = json.loads(lines[-1] if lines else text)["result"]
        found: dict[str, Any] = result["structuredContent"]
        return found

    async def run(self, tenant: str, name: str) -> dict[str, Any]:
        """Run a request to its end and return the run, or fail."""
        given = {"agent": "concierge", "input": request(name), "wait": 100}
        run = await self.call(tenant, "run", given)
        while run["status"] in {"pending", "running"}:
            run = await self.call(tenant, "get_run", {"run": run["id"]})
            await asyncio.sleep(0.2)
        if run["status"] != "success" or [step["status"] for step in run["steps"]] != ["done"] * STEPS:
            raise SystemExit(f"a run went wrong: {run}")
        return {**run, "tenant": tenant}

    def cpu(self) -> float:
        """Return the seconds of CPU that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> float:
        """Return its resident memory in MB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def serving(folder: Path, url: str | None) -> Generator[tuple[int, str, Signer]]:
    """Start door and service; yield the service's process id, its socket, and who signs for its callers."""
    signer = Signer(secrets.token_bytes(32))
    door, path = folder / "gateway.sock", folder / "agents.sock"
    about: dict[str, Any] = {"data": f"{folder}/data", "database_url": url, "jwks": signer.jwks(), "gateway": str(door)}
    sinks = subprocess.Popen([sys.executable, RIG / "sinks.py", door, folder / "sinks.db"])
    agents = subprocess.Popen([sys.executable, RIG / "agents.py", path], stdin=subprocess.PIPE)
    try:
        assert agents.stdin is not None
        agents.stdin.write(json.dumps({**about, "environ": {"TAUSESTACK_TENANT_RUNS": str(TENANT_RUNS)}}).encode())
        agents.stdin.close()
        deadline = time.monotonic() + READY_SECONDS
        while not (path.exists() and door.exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield agents.pid, str(path), signer
    finally:
        for process in (agents, sinks):
            process.terminate()
            process.wait(60)


@dataclass
class Found:
    """What was measured: seconds a step, steps a second, resident MB before and after each crowd.

    `most` is how many runs a tenant had under way at once, `effects` how many calls took effect of those asked for.
    """

    wall: float
    alone: float
    crowd: float
    rate: float
    resident: list[float]
    most: int
    effects: tuple[int, int]

    def right(self) -> bool:
        """Return whether each call took effect once, no tenant had more than its runs, and memory stayed flat."""
        flat = self.resident[-1] <= self.resident[2] * FLAT
        return flat and self.most <= TENANT_RUNS and self.effects[0] == self.effects[1]


def measured(name: str, url: str | None, runs: int = RUNS) -> bool:
    """Measure one database, print what was found, and return whether it is within its bound."""
    with (
        tempfile.TemporaryDirectory(prefix="ts-") as folder,
        serving(Path(folder), url) as (pid, path, signer),
    ):
        found = asyncio.run(_measured(pid, path, signer, runs, Path(folder) / "sinks.db"))
    print(
        f"{name:12}{found.wall * 1000:>10.2f}{found.alone * 1000:>10.2f}{found.crowd * 1000:>10.2f}{found.rate:>10.0f}"
        f"{found.most:>10}{found.effects[0]:>7} of {found.effects[1]}"
        f"   {', '.join(f'{one:.0f}' for one in found.resident)}"
    )
    return found.right() and found.crowd * 1000 <= BOUND_MS[name]


async def _measured(pid: int, path: str, signer: Signer, runs: int, sinks: Path) -> Found:
    transport = httpx2.AsyncHTTPTransport(uds=path, verify=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://agents", timeout=600) as http:
        service = Service(pid, http, signer)
        await service.run("acme", "warm")
        walls: list[float] = []
        before = service.cpu()
        for number in range(ALONE):
            started = time.perf_counter()
            await service.run("acme", f"a{number}")
            walls.append(time.perf_counter() - started)
        alone = (service.cpu() - before) / ALONE / STEPS
        resident, crowds, rates = [service.resident()], list[float](), list[float]()
        done: list[dict[str, Any]] = []
        for crowd in CROWDS:
            before, started = service.cpu(), time.perf_counter()
            done += await asyncio.gather(*(service.run(f"t{n % TENANTS}", f"{crowd}{n}") for n in range(runs)))
            rates.append(runs * STEPS / (time.perf_counter() - started))
            crowds.append((service.cpu() - before) / runs / STEPS)
            resident.append(service.resident())
    with closing(sqlite3.connect(sinks)) as counted:
        begun = dict(counted.execute("SELECT run, min(at) FROM arrivals WHERE run != '' GROUP BY run").fetchall())
        [(effects,)] = counted.execute("SELECT count(DISTINCT arguments) FROM effects").fetchall()
        [(calls,)] = counted.execute("SELECT count(*) FROM arrivals WHERE address = 'ledger/record_visit'").fetchall()
    asked = (1 + ALONE + len(done)) * STEPS
    most = max(_at_once([run for run in done if run["tenant"] == f"t{n}"], begun) for n in range(min(TENANTS, runs)))
    return Found(
        min(walls) / STEPS,
        alone,
        min(crowds),
        max(rates),
        resident,
        most,
        (effects if calls == asked else calls, asked),
    )


def _at_once(runs: list[dict[str, Any]], begun: dict[str, float]) -> int:
    """Return how many of a tenant's runs were under way at once."""
    moments = [(begun[run["id"]], 1) for run in runs]
    moments += [(datetime.fromisoformat(run["ended_at"]).timestamp(), -1) for run in runs]
    return max(accumulate(change for _, change in sorted(moments)))


def main() -> int:
    """Measure both databases."""
    print(
        f"{'':12}{'wall ms':>10}{'CPU ms':>10}{'of 200':>10}{'steps/s':>10}{'at once':>10}"
        f"{'effects':>15}   resident MB before and after 200 each"
    )
    kept = measured("sqlite", None)
    with postgres() as server, database(server) as url:
        kept = measured("postgresql", url) and kept
    bounds = ", ".join(f"{most} on {name}" for name, most in BOUND_MS.items())
    print(f"CPU milliseconds a step with 200 runs at once, at most: {bounds}")
    print(f"each call once; at most {TENANT_RUNS} runs of a tenant at once; memory within {FLAT} of the second crowd's")
    return 0 if kept else 1
