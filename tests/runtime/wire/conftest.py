"""Peers for the pool: real sockets that answer, hang, break and lie as a test tells them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tausestack_runtime.gateway.upstreams.wire import Pool

Answer = Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both of the loops that the gateway may run on."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture
def socket_path() -> Iterator[str]:
    """A short path for a socket."""
    with tempfile.TemporaryDirectory(prefix="wire-", dir="/tmp") as folder:
        yield f"{folder}/s"


class Peer:
    """A server on a Unix socket that reads whole requests and hands them to a function."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()
        self.changed = asyncio.Condition()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition of the peer's, ten seconds at most."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(holds)

    async def serve(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await self._tell()
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = await reader.readexactly(length)
                self.requests.append(head + body)
                await self._tell()
                await answer(self, reader, writer, head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            self.open -= 1
            await self._tell()
            writer.close()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


@pytest.fixture
def peer() -> Callable[[str, Answer], Any]:
    """Run a peer at a path with what it does for each request."""

    @asynccontextmanager
    async def run(path: str, answer: Answer) -> AsyncIterator[Peer]:
        made = Peer()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(made.serve(answer, reader, writer))
            tasks.add(task)

        server = await asyncio.start_unix_server(connected, path)
        try:
            yield made
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run


@pytest.fixture
def pools() -> Callable[..., Any]:
    """Make a pool that is closed on leaving."""

    @asynccontextmanager
    async def make(path: str, **options: Any) -> AsyncIterator[Pool]:
        pool = Pool(path, **options)
        try:
            yield pool
        finally:
            await pool.aclose()

    return make
