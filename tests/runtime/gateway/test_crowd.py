"""A full room: those who owe a request go, those who are owed an answer stay, and no tenant has more than its share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from tausestack.errors import Cancelled, RateLimited
from tausestack_runtime.gateway.crowd import BYTE_SECONDS, LIGHT, VALUE_SECONDS, Crowd, Shares, Turns, room
from tausestack_runtime.gateway.exchange import Bounds, Exchange
from tausestack_runtime.gateway.http.connection import Connection
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.http.line import Incoming

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

MOST = 4
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"


class Door:
    """A server with room for four connections, whose slow answers wait for a word."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.slow = asyncio.Queue[None]()
        self.crowd = Crowd(MOST)

    async def __call__(self, exchange: Exchange) -> None:
        try:
            await exchange.body()
        except Cancelled:
            return
        if exchange.path == "/slow":
            self.slow.put_nowait(None)
            await self.go.wait()
        await exchange.reply(200, b"ok")


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes = GET) -> bytes:
        self.writer.write(request)
        async with asyncio.timeout(60):
            return await self.reader.readuntil(b"\r\n\r\n") + await self.reader.readexactly(2)

    async def closed(self) -> bool:
        async with asyncio.timeout(60):
            return await self.reader.read() == b""


@pytest.fixture
async def door() -> AsyncIterator[tuple[Door, int]]:
    made = Door()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        kind: Any = Connection
        server = uvicorn.Server(uvicorn.Config(made, http=kind, ws="none", lifespan="off", log_config=None))
        serving = asyncio.create_task(server._serve([sock]))
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield made, sock.getsockname()[1]
        made.go.set()
        server.should_exit = True
        await serving


@pytest.fixture
async def callers(door: tuple[Door, int]) -> AsyncIterator[Any]:
    made: list[Caller] = []

    async def call(sent: bytes = b"") -> Caller:
        one = Caller(*await asyncio.open_connection("127.0.0.1", door[1]))
        one.writer.write(sent)
        made.append(one)
        return one

    yield call
    for one in made:
        one.writer.close()


@pytest.mark.covers("doors:crowd")
async def test_half_open_requests_make_room_for_those_that_come(callers: Any) -> None:
    half = [await callers(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf") for _ in range(MOST)]
    for longest in half[:-1]:
        assert b"200" in await (await callers()).ask()
        assert await longest.closed()


@pytest.mark.covers("doors:crowd")
async def test_callers_that_wait_for_an_answer_stay(door: tuple[Door, int], callers: Any) -> None:
    made, _ = door
    busy = [asyncio.ensure_future((await callers()).ask(SLOW)) for _ in range(MOST)]
    async with asyncio.timeout(60):
        for _ in range(MOST):
            await made.slow.get()
    refused = await callers()
    async with asyncio.timeout(60):
        assert (await refused.reader.read()).startswith(b"HTTP/1.1 503")
    made.go.set()
    assert all(b"200" in answer for answer in await asyncio.gather(*busy))
    assert b"200" in await (await callers()).ask()


@pytest.mark.covers("doors:crowd")
async def test_a_caller_that_comes_back_is_not_driven_out_by_strangers(callers: Any) -> None:
    known = await callers()
    assert b"200" in await known.ask()
    for _ in range(3 * MOST):
        await callers(b"GET / HT")
    assert b"200" in await known.ask()


class Line:
    """A connection that takes all that it is sent."""

    gone = blocked = False
    keeps = True

    def __init__(self, *, inside: bool = False) -> None:
        self.inside = inside
        self.sent: list[int] = []

    def write(self, data: bytes) -> None:
        self.sent.append(len(data))

    async def drained(self) -> None:
        pass

    def hold(self) -> None:
        pass

    def go_on(self) -> None:
        pass

    def answered(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.covers("doors:shares")
async def test_a_tenant_over_its_share_is_refused_and_others_are_not() -> None:
    shares, weights = Shares(2, "requests"), Shares(9, "bytes")

    def exchange(*, inside: bool = False) -> Exchange:
        made = Exchange(Head("GET", b"/", []), Line(inside=inside), b"")
        made.bounds = Bounds(shares, weights)
        return made

    first, second, third, other, own = exchange(), exchange(), exchange(), exchange(), exchange(inside=True)
    first.belong("acme")
    second.belong("acme")
    with pytest.raises(RateLimited, match="2 requests"):
        third.belong("acme")
    third.close()
    other.belong("globex")
    own.belong("acme")  # a part of one that is counted already
    first.close()
    first.close()
    third.belong("acme")
    with pytest.raises(RateLimited):
        exchange().belong("acme")


@pytest.mark.covers("doors:crowd")
async def test_there_is_room_within_the_limit_of_open_files() -> None:
    assert 0 < room() <= 8192


@pytest.mark.covers("doors:weights")
async def test_large_requests_and_answers_of_a_tenant_have_room_for_so_many_bytes() -> None:
    shares, weights = Shares(9, "requests"), Shares(4 * LIGHT, "bytes")
    line = Line()

    def exchange(tenant: str, *headers: tuple[bytes, bytes]) -> Exchange:
        incoming = Incoming(line)
        incoming.ended()
        made = Exchange(Head("POST", b"/", list(headers)), line, incoming)
        made.bounds = Bounds(shares, weights)
        made.belong(tenant)
        return made

    first, second, light = (
        exchange("acme", (b"content-length", str(size).encode())) for size in (LIGHT * 3, LIGHT * 2, 9)
    )
    await first.body()
    await light.body()
    with pytest.raises(RateLimited):
        await second.body()
    with pytest.raises(RateLimited):
        await exchange("acme", (b"transfer-encoding", b"chunked")).body()
    with pytest.raises(RateLimited):
        await light.reply(200, b"x" * 2 * LIGHT)
    assert not line.sent
    first.close()
    await light.reply(200, b"x" * (2 * LIGHT + 1))
    assert line.sent[-3:] == [LIGHT, LIGHT, 1]
    await exchange("globex", (b"content-length", str(LIGHT * 4).encode())).body()


@pytest.mark.covers("doors:turns")
async def test_large_bodies_of_a_tenant_are_read_in_turn_and_nobody_else_waits() -> None:
    turns, body = Turns(), b"," * int(0.02 / (BYTE_SECONDS + VALUE_SECONDS))
    told: list[str] = []

    async def read(name: str, tenant: str) -> None:
        await turns.next(tenant, body)
        told.append(name)

    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(read(name, name[0]) for name in ("a1", "a2", "a3", "b1")))
    assert told == ["a1", "b1", "a2", "a3"]
    assert asyncio.get_running_loop().time() - begun >= 0.039
    await read("a4", "a")
    assert asyncio.get_running_loop().time() - begun >= 0.059
