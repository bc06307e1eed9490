"""What several gateways cost: CPU a call of two behind one port against one alone, on PostgreSQL.

Both stacks run at once and are called in turn, round after round, so that a noisy moment meets both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
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
import orjson
import uvloop

from benchmarks._postgres import database, postgres

ROUNDS = 24
CALLS = 800
WARM_CALLS = 800
CONCURRENT = 32
BOUND = 1.15
WAIT_SECONDS = 60.0
TENANT = "bench"
UP = (str(Path(sys.executable).with_name("tausestack")), "up")
_HEAD_END = b"\r\n\r\n"


@dataclass
class Stack:
    """A running stack, and what its tenant sends to it."""

    port: int
    pids: list[int]
    request: bytes

    def cpu(self) -> float:
        """Return the seconds of CPU that its gateways have taken, all threads of each."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """One round: microseconds of CPU a call, median latency in microseconds, calls a second."""

    cpu: float
    latency: float
    rate: float


class Caller(asyncio.Protocol):
    """A connection that sends the next request when it has the reply to the one before."""

    def __init__(self, request: bytes, left: list[int], latencies: list[float]) -> None:
        self._request, self._left, self._latencies = request, left, latencies
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
        if b" 200 " not in head[:16] or b'"valid":true' not in body:
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
    cpu, wall = stack.cpu(), time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(stack.request, left, latencies), "127.0.0.1", stack.port))[1]
        for _ in range(CONCURRENT)
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    cpu, wall = stack.cpu() - cpu, time.perf_counter() - wall
    return Figures(cpu / calls * 1e6, statistics.median(latencies) * 1e6, calls / wall)


async def compared(one: Stack, two: Stack) -> tuple[list[Figures], list[Figures]]:
    """Measure both in turn."""
    for stack in (one, two):
        await measured(stack, WARM_CALLS)
    ones: list[Figures] = []
    twos: list[Figures] = []
    for number in range(ROUNDS):
        for stack, found in ((one, ones), (two, twos)) if number % 2 else ((two, twos), (one, ones)):
            found.append(await measured(stack, CALLS))
    return ones, twos


@contextlib.contextmanager
def running(command: Sequence[str], **settings: str) -> Generator[Stack]:
    """Start a stack by a command, with a tenant that has `colombia` installed, and stop it after use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="tsg", dir="/tmp") as folder:
        data = Path(folder) / "data"
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TAUSESTACK_LOG_LEVEL": "warning", **settings}
        environment |= {"TAUSESTACK_DATA": str(data), "TAUSESTACK_PORT": str(port)}
        with subprocess.Popen(command, env=environment) as process:
            try:
                with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS, trust_env=False) as http:
                    yield _prepared(http, process, data, port)
            finally:
                process.send_signal(signal.SIGTERM)


def _prepared(http: httpx2.Client, process: subprocess.Popen[bytes], data: Path, port: int) -> Stack:
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
    made = http.post("/api/v2/tenants", headers=operator, json={"id": TENANT}).raise_for_status().json()
    bearer = {"Authorization": f"Bearer {made['api_key']}"}
    installed = {"ref": "colombia", "approve": True}
    http.post(f"/api/v2/tenants/{TENANT}/servers", headers=bearer, json=installed).raise_for_status()
    return Stack(port, [one["pid"] for one in figures], _request(port, made["api_key"]))


def _request(port: int, key: str) -> bytes:
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params: dict[str, Any] = {"name": "validate_nit", "arguments": {"nit": "900.123.456-8"}, "_meta": meta}
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "validate_nit",
    }
    lines = [f"POST /tenants/{TENANT}/servers/colombia/mcp HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join(lines).encode() + _HEAD_END + body


def mean_cpu(rounds: list[Figures]) -> float:
    """Return the mean: what a busy machine adds to a round, it adds to both stacks' in the long run."""
    return statistics.mean(figures.cpu for figures in rounds)


def main() -> int:
    """Print what a call costs with one gateway and with two, and return 1 where two cost too much more."""
    with (
        postgres() as server,
        database(server) as first,
        database(server) as second,
        running(UP, TAUSESTACK_DATABASE_URL=first) as one,
        running(UP, TAUSESTACK_DATABASE_URL=second, TAUSESTACK_GATEWAYS="2") as two,
    ):
        found = uvloop.run(compared(one, two))
    print(f"{CONCURRENT} calls at once, {ROUNDS} rounds of {CALLS}")
    print(f"{'gateways':<10}{'CPU us':>9}{'p50 us':>9}{'calls/s':>10}")
    for number, rounds in enumerate(found, 1):
        latency, rate = (
            statistics.median(getattr(figures, name) for figures in rounds) for name in ("latency", "rate")
        )
        print(f"{number:<10}{mean_cpu(rounds):>9.0f}{latency:>9.0f}{rate:>10.0f}")
    ratio = mean_cpu(found[1]) / mean_cpu(found[0])
    print(f"CPU a call, two against one: {ratio:.2f}x, bound {BOUND}x")
    return 0 if ratio <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
