"""The hop from the gateway to a server: our pool over a Unix socket and over TCP, aiohttp's client and httpx2's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import httpx2
import uvloop

from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire import Pool

Send = Callable[[], Awaitable[bytes]]
Client = Callable[[str, int], AbstractAsyncContextManager[Send]]

CONCURRENT = (1, 32)
ROUNDS = 5
CALLS = 2000
WARM_CALLS = 200
BODY = (
    b'{"jsonrpc":"2.0","id":"01J","method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":3},"_meta":{'
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
    b'"pro.tause/call":"01J"}}}'
)
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "authorization": "Bearer " + "x" * 400,
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "add",
}
REPLY = (
    b'{"jsonrpc":"2.0","id":"01J","result":{"content":[{"type":"text","text":"5"}],"structuredContent":{"result":5}}}'
)

SERVER = f"""
import asyncio, os, socket, sys
import uvicorn
REPLY = {REPLY!r}
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        continue
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REPLY)).encode())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": REPLY}})
sockets = [socket.socket(fileno=int(argument)) for argument in sys.argv[1:]]
config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", ws="none", log_level="error")
uvicorn.Server(config).run(sockets=sockets)
"""


@dataclass(frozen=True)
class Figures:
    """One round: microseconds of CPU of the client a call, median latency in microseconds, calls a second."""

    cpu: float
    latency: float
    rate: float


@asynccontextmanager
async def own_pool(path: str, _: int) -> AsyncGenerator[Send]:
    """Our own pool over the Unix socket."""
    async with asking(Pool(path)) as send:
        yield send


@asynccontextmanager
async def own_pool_over_tcp(_: str, port: int) -> AsyncGenerator[Send]:
    """Our own pool over TCP to loopback."""
    origin = Origin("http", "127.0.0.1", port)
    async with asking(Pool(origin, egress=Egress(frozenset({(origin.host, port)})))) as send:
        yield send


@asynccontextmanager
async def asking(pool: Pool) -> AsyncGenerator[Send]:
    """Send through a pool, and close it."""
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    loop = asyncio.get_running_loop()

    async def send() -> bytes:
        reply = await pool.request("POST", "/mcp", headers, BODY, deadline=loop.time() + 30)
        return await reply.read()

    yield send
    await pool.aclose()


@asynccontextmanager
async def aiohttp_client(path: str, _: int) -> AsyncGenerator[Send]:
    """aiohttp's client with its connector for Unix sockets."""
    connector = aiohttp.UnixConnector(path, limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send() -> bytes:
            async with session.post("http://localhost/mcp", data=BODY, headers=HEADERS) as reply:
                return await reply.read()

        yield send


@asynccontextmanager
async def httpx2_client(path: str, _: int) -> AsyncGenerator[Send]:
    """One httpx2 client, shared, with its transport for Unix sockets."""
    limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
    transport = httpx2.AsyncHTTPTransport(uds=path, limits=limits)
    async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=30) as client:

        async def send() -> bytes:
            return (await client.post("http://localhost/mcp", content=BODY, headers=HEADERS)).content

        yield send


CLIENTS: dict[str, Client] = {
    "own pool": own_pool,
    "own, TCP": own_pool_over_tcp,
    "aiohttp": aiohttp_client,
    "httpx2": httpx2_client,
}


async def measured(send: Send, concurrent: int, calls: int) -> Figures:
    """Send calls from so many loops at once and return what they cost."""
    latencies: list[float] = []

    async def worker(share: int) -> None:
        for _ in range(share):
            begun = time.perf_counter()
            assert await send() == REPLY
            latencies.append(time.perf_counter() - begun)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker(calls // concurrent) for _ in range(concurrent)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    done = len(latencies)
    return Figures(cpu / done * 1e6, statistics.median(latencies) * 1e6, done / wall)


async def compared(path: str, port: int) -> dict[tuple[str, int], list[Figures]]:
    """Measure every client in turn, round after round, so that a noisy moment meets all of them."""
    found: dict[tuple[str, int], list[Figures]] = {}
    async with contextlib.AsyncExitStack() as stack:
        sends = {name: await stack.enter_async_context(client(path, port)) for name, client in CLIENTS.items()}
        for send in sends.values():
            await measured(send, max(CONCURRENT), WARM_CALLS)
        for _ in range(ROUNDS):
            for concurrent in CONCURRENT:
                for name, send in sends.items():
                    found.setdefault((name, concurrent), []).append(await measured(send, concurrent, CALLS))
    return found


@contextlib.contextmanager
def served(path: str) -> Generator[int]:
    """Run the server in a process of its own and yield its TCP port; it has the last core and we the first."""
    with socket.socket(socket.AF_UNIX) as listening, socket.create_server(("127.0.0.1", 0), backlog=1024) as tcp:
        listening.bind(path)
        listening.listen(1024)
        passed = [listening.fileno(), tcp.fileno()]
        server = subprocess.Popen([sys.executable, "-c", SERVER, *map(str, passed)], pass_fds=passed)
        port = tcp.getsockname()[1]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(server.pid, cores[-1:])
    os.sched_setaffinity(0, cores[:1])
    try:
        yield port
    finally:
        os.sched_setaffinity(0, cores)
        server.terminate()
        server.wait()


def main() -> None:
    """Print each client's cost and its ratio to our pool's, the best of the rounds for each figure."""
    with tempfile.TemporaryDirectory(prefix="hop-") as folder, served(f"{folder}/s") as port:
        found = uvloop.run(compared(f"{folder}/s", port))
    print(f"{'client':<10}{'at once':>8}{'CPU us':>9}{'ratio':>7}{'p50 us':>9}{'calls/s':>10}{'ratio':>7}")
    for concurrent in CONCURRENT:
        own = best(found["own pool", concurrent])
        for name in CLIENTS:
            one = best(found[name, concurrent])
            print(
                f"{name:<10}{concurrent:>8}{one.cpu:>9.0f}{one.cpu / own.cpu:>6.1f}x"
                f"{one.latency:>9.0f}{one.rate:>10.0f}{one.rate / own.rate:>6.2f}x"
            )


def best(rounds: list[Figures]) -> Figures:
    """Return the least CPU, the least latency and the highest rate of the rounds."""
    return Figures(min(one.cpu for one in rounds), min(one.latency for one in rounds), max(one.rate for one in rounds))


if __name__ == "__main__":
    main()
