"""A request that a process of ours took and went away without reading is sent to the next one."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tausestack.contract import Principal
from tausestack.errors import Unavailable
from tausestack.tokens import Signer
from tausestack_runtime.egress import Egress
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.upstreams import routes
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.gateway.upstreams.wire import NotSent
from tausestack_runtime.supervisor.control import ControlClient

pytestmark = pytest.mark.anyio

ANA = Principal("acme", "user:ana", frozenset({"read"}))
EVENT = b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(EVENT)

Ask = Callable[[Upstreams], Awaitable[bytes]]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """The socket of a service, which outlives its processes."""
    with tempfile.TemporaryDirectory(prefix="resent-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(Path(folder) / "s"))
        sock.listen()
        sock.setblocking(False)
        yield sock


@asynccontextmanager
async def upstreams(listening: socket.socket) -> AsyncIterator[Upstreams]:
    at = listening.getsockname()
    made = Upstreams({"agents": at}, ControlClient(f"{at}.control"), Signer(b"s" * 32), Egress())
    try:
        yield made
    finally:
        await made.aclose()


def asked(method: str = "GET") -> Call:
    deadline = asyncio.get_running_loop().time() + 60
    return Call("acme", ANA, "agents", "events", {}, "rest", deadline, method=method)


async def streamed(through: Upstreams) -> bytes:
    async with through.stream(asked(), "agents", "/runs/r1/events", [], "e1") as reply:
        return await reply.read()


async def owned(through: Upstreams) -> bytes:
    async with through.own("agents", "acme", "GET", "/tenant/share", seconds=60) as reply:
        return await reply.read()


async def listened(through: Upstreams) -> bytes:
    call = asked("subscriptions/listen")
    async for message in through.listen(call, Installation("agents", "service", "agents"), "e1"):
        return EVENT if message["method"] == "notifications/tools/list_changed" else b""
    return b""


async def taken(listening: socket.socket) -> socket.socket:
    """Return a connection once a request lies in it, unread."""
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listening)
    connection.setblocking(False)
    there = loop.create_future()
    loop.add_reader(connection, there.set_result, None)
    await there
    loop.remove_reader(connection)
    return connection


@pytest.mark.covers("upstreams:resent")
@pytest.mark.parametrize("ask", [streamed, owned, listened])
async def test_it_is_read_by_the_process_after_the_one_that_stopped(listening: socket.socket, ask: Ask) -> None:
    async with upstreams(listening) as through, asyncio.timeout(60):
        reply = asyncio.ensure_future(ask(through))
        for _ in range(3):
            (await taken(listening)).close()  # with the request unread: the kernel resets
        with await taken(listening) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, HEAD + EVENT)
            assert await reply == EVENT


@pytest.mark.covers("upstreams:resent")
@pytest.mark.parametrize(("ask", "error"), [(streamed, Unavailable), (owned, NotSent), (listened, Unavailable)])
async def test_where_nobody_ever_reads_it_that_is_said(
    listening: socket.socket, ask: Ask, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LAST_PAUSE_SECONDS", 0.001)
    async with upstreams(listening) as through, asyncio.timeout(60):
        reply = asyncio.ensure_future(ask(through))
        for _ in range(routes.MAX_RESENDS + 1):
            (await taken(listening)).close()
        with pytest.raises(error):
            await reply
        with pytest.raises(BlockingIOError):
            listening.accept()
