"""What several gateways cost: CPU a call of two behind one port against one alone, on PostgreSQL.

All stacks run at once and are called in turn, round after round, so that a noisy moment meets all of them. Beside them
run one bare forwarder and two: what two of those cost more, each woken for half as much at a time and with colder
caches, is the machine's share.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import uvloop

from benchmarks._postgres import database, postgres
from benchmarks._rig.asking import mcp_call
from benchmarks._rig.processes import cpu_seconds, free_port, listening

ROUNDS = 24
CALLS = 800
WARM_CALLS = 800
CONCURRENT = 32
BOUND = 1.15
WAIT_SECONDS = 60.0
NUMBER, RIGHT = 1, b'"result":4'
"""What is asked, and what every reply holds: the tool adds three."""
TENANT = "bench"
UP = (str(Path(sys.executable).with_name("tausestack")), "up")
_HEAD_END = b"\r\n\r\n"


@dataclass
class Stack:
    """What runs: its ports, which its callers share evenly, the processes that are measured, and what it is sent."""

    ports: list[int]
    pids: list[int]
    request: bytes


@dataclass(frozen=True)
class Figures:
    """One round: microseconds of CPU a call, median latency in microseconds, calls a second."""

    cpu: float
    latency: float
    rate: float


class Caller(asyncio.Protocol):
    """A connection that sends the next request when it has the reply to the one before."""

    def __init__(self, stack: Stack, left: list[int], latencies: list[float]) -> None:
        self._request, self._left, self._latencies = stack.request, left, latencies
        self._received = bytearray()
        self._begun = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a reply, and send the next request after its end."""
        self._received += data
        head, found, body = self._received.partition(_HEAD_END)
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        if b" 200 " not in head[:16] or RIGHT not in body:
            self.done.set_exception(RuntimeError(bytes(self._received).decode()))
            return
        self._latencies.append(time.perf_counter() - self._begun)
        self._received.clear()
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """No reply is lost silently."""
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError("the gateway closed the connection"))

    def _next(self) -> None:
        if self._left[0] == 0:
            self.done.set_result(None)
            self._transport.close()
            return
        self._left[0] -= 1
        self._begun = time.perf_counter()
        self._transport.write(self._request)


async def measured(stack: Stack, calls: int) -> Figures:
    """Send calls on so many fresh connections at once and return what they cost."""
    left, latencies = [calls], list[float]()
    loop = asyncio.get_running_loop()
    cpu, wall = cpu_seconds(stack.pids), time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(stack, left, latencies), "127.0.0.1", port))[1]
        for _, port in zip(range(CONCURRENT), itertools.cycle(stack.ports), strict=False)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    cpu, wall = cpu_seconds(stack.pids) - cpu, time.perf_counter() - wall
    return Figures(cpu / calls * 1e6, statistics.median(latencies) * 1e6, calls / wall)


async def compared(*stacks: Stack) -> list[list[Figures]]:
    """Measure all in turn, each time in the other order."""
    for stack in stacks:
        await measured(stack, WARM_CALLS)
    found: list[list[Figures]] = [[] for _ in stacks]
    order = list(zip(stacks, found, strict=True))
    for _ in range(ROUNDS):
        order.reverse()
        for stack, figures in order:
            figures.append(await measured(stack, CALLS))
    return found


@contextlib.contextmanager
def running(command: Sequence[str], upstream: int, **settings: str) -> Generator[Stack]:
    """Start a stack by a command, with a tenant that has the raw upstream installed, and stop it after use."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tsg", dir="/tmp") as folder:
        data = Path(folder) / "data"
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TAUSESTACK_LOG_LEVEL": "warning", **settings}
        environment |= {"TAUSESTACK_DATA": str(data), "TAUSESTACK_PORT": str(port)}
        environment |= {"TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{upstream}"}
        with subprocess.Popen(command, env=environment) as process:
            try:
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS, trust_env=False) as http:
                    yield _prepared(http, process, data, port, upstream)
            finally:
                process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def served(name: str, *ports: int) -> Generator[int]:
    """Run a program of the rig that listens on the first of some ports, and return its process."""
    with subprocess.Popen((sys.executable, "-m", f"benchmarks._rig.{name}", *map(str, ports))) as process:
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not listening(ports[0]):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit(f"{name} did not come up")
                time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def upstream() -> Generator[int]:
    """Run the raw upstream, and return its port."""
    port = free_port()
    with served("upstream", port):
        yield port


@contextlib.contextmanager
def forwarders(count: int, before: int) -> Generator[Stack]:
    """Run some bare forwarders, each on a port of its own, before the upstream at a port."""
    ports = [free_port() for _ in range(count)]
    ask, _ = mcp_call("/mcp", "add")
    with contextlib.ExitStack() as started:
        pids = [started.enter_context(served("forwarder", port, before)) for port in ports]
        yield Stack(ports, pids, ask(NUMBER))


def _prepared(http: httpx2.Client, process: subprocess.Popen[bytes], data: Path, port: int, upstream: int) -> Stack:
    deadline = time.monotonic() + WAIT_SECONDS
    operator: dict[str, str] = {}
    figures: list[dict[str, Any]] = []
    while not figures or not all(one["connections"] is not None for one in figures):
        if time.monotonic() > deadline or process.poll() is not None:
            raise SystemExit("the stack did not become ready: its log says why")
        with contextlib.suppress(httpx2.TransportError, FileNotFoundError):
            operator = {"Authorization": f"Bearer {(data / 'operator.key').read_text().strip()}"}
            if http.get("/health/ready").status_code == 200:
                figures = http.get("/api/v2/doctor", headers=operator).raise_for_status().json()["gateways"]
        time.sleep(0.02)
    made = (
        http.post("/api/v2/tenants", headers=operator, json={"id": TENANT, "plan": "premium"}).raise_for_status().json()
    )
    bearer = {"Authorization": f"Bearer {made['api_key']}"}
    installed = {"ref": f"http://127.0.0.1:{upstream}/mcp", "name": "raw", "approve": True}
    http.post(f"/api/v2/tenants/{TENANT}/servers", headers=bearer, json=installed).raise_for_status()
    ask, _ = mcp_call(f"/tenants/{TENANT}/servers/raw/mcp", "add", made["api_key"])
    return Stack([port], [one["pid"] for one in figures], ask(NUMBER))


def mean_cpu(rounds: list[Figures]) -> float:
    """Return the mean: what a busy machine adds to a round, it adds to both stacks' in the long run."""
    return statistics.mean(figures.cpu for figures in rounds)


def main() -> int:
    """Print what a call costs with one gateway and with two, and return 1 where two cost too much more."""
    with (
        postgres() as server,
        database(server) as first,
        database(server) as second,
        upstream() as before,
        running(UP, before, TAUSESTACK_DATABASE_URL=first) as one,
        running(UP, before, TAUSESTACK_DATABASE_URL=second, TAUSESTACK_GATEWAYS="2") as two,
        forwarders(1, before) as bare,
        forwarders(2, before) as bares,
    ):
        found = uvloop.run(compared(one, two, bare, bares))
    print(f"{CONCURRENT} calls at once, {ROUNDS} rounds of {CALLS}")
    print(f"{'':<14}{'CPU us':>9}{'p50 us':>9}{'calls/s':>10}")
    for name, rounds in zip(("1 gateway", "2 gateways", "1 forwarder", "2 forwarders"), found, strict=True):
        latency, rate = (
            statistics.median(getattr(figures, name) for figures in rounds) for name in ("latency", "rate")
        )
        print(f"{name:<14}{mean_cpu(rounds):>9.0f}{latency:>9.0f}{rate:>10.0f}")
    alone, both, bare_alone, bare_both = map(mean_cpu, found)
    ratio, machine = both / alone, bare_both / bare_alone
    print(f"CPU a call, two against one: {ratio:.2f}x, bound {BOUND}x")
    print(f"the same of bare forwarders: {machine:.2f}x; beyond the machine's share: {ratio / machine:.2f}x")
    return 0 if ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
