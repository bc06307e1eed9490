"""Requests that do not come, or do not end: the door waits for none of them forever."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
import uvicorn

from tausestack.errors import Cancelled
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.http.connection import Connection

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


LARGE = 32 * 1024 * 1024
"""Bytes of an answer that no socket's buffers hold."""


class Hasty(Connection):
    head_seconds = 0.3
    body_seconds = 0.6
    write_seconds = 0.5


class Door:
    """Reads the body, takes longer than the patience for a head, and answers."""

    crowd = None

    async def __call__(self, exchange: Exchange) -> None:
        try:
            body = await exchange.body()
        except Cancelled:
            return
        await asyncio.sleep(0.8 if exchange.path == "/slow" else 0)
        names = b" ".join(name for name, _ in exchange.raw_headers)
        await exchange.reply(200, {"/large": b"x" * LARGE, "/names": names, "/body": body}.get(exchange.path, b"ok"))


@contextlib.asynccontextmanager
async def served(protocol: type[Connection]) -> AsyncGenerator[tuple[int, uvicorn.Server]]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        kind: Any = protocol
        server = uvicorn.Server(
            uvicorn.Config(Door(), http=kind, ws="none", lifespan="off", log_config=None, timeout_keep_alive=1)
        )
        serving = asyncio.create_task(server._serve([sock]))
        while not server.started:  # noqa: ASYNC110 uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield sock.getsockname()[1], server
        server.should_exit = True
        await serving


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with served(Hasty) as (port, _):
        yield port


async def answer(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces and return all that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(pause)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.covers("doors:patience")
@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(port: int, sent: bytes) -> None:
    assert await answer(port, sent) == b""


@pytest.mark.covers("doors:patience")
async def test_trickled_bytes_buy_no_time(port: int) -> None:
    pieces = [b"GET / HTTP/1.1\r\n", *(f"X{n}: y\r\n".encode() for n in range(8)), b"\r\n"]
    assert b"200" not in await answer(port, *pieces, pause=0.1)


@pytest.mark.covers("doors:head-size")
async def test_a_head_without_end_is_refused(port: int) -> None:
    endless = b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 1_000_000
    assert not (await answer(port, endless)).startswith(b"HTTP/1.1 200")


@pytest.mark.covers("doors:patience")
async def test_an_answer_that_takes_long_is_waited_for(port: int) -> None:
    request = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi\r\n"
    assert (await answer(port, request)).endswith(b"ok")


@pytest.mark.covers("doors:patience")
async def test_a_connection_is_kept_for_the_next_request_and_let_go_when_none_comes(port: int) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    later_than_a_head_may_be = 0.5
    assert (await answer(port, request, request, pause=later_than_a_head_may_be)).count(b"ok") == 2


@pytest.mark.covers("doors:patience")
async def test_two_requests_at_once_are_answered_one_after_the_other(port: int) -> None:
    slow = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    assert (await answer(port, slow + slow)).count(b"ok") == 2


@pytest.mark.covers("doors:heads")
async def test_a_request_that_comes_again_is_the_same_however_it_is_cut(port: int) -> None:
    head, body = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", (b"%02d" % n for n in range(9))
    last = head.replace(b"Host", b"Connection: close\r\nHost")
    pieces = [head + next(body), head + next(body), head, next(body), head[:20], head[20:] + next(body)]
    pieces += [head + next(body) + head + next(body), head + next(body)[:1], b"6", b"\r\n", last + next(body)]
    told = await answer(port, *pieces, pause=0.05)
    assert [part[:2] for part in told.split(b"\r\n\r\n")[1:]] == [
        b"00",
        b"01",
        b"02",
        b"03",
        b"04",
        b"05",
        b"06",
        b"07",
    ]


async def rest(reader: asyncio.StreamReader) -> int:
    """Return how many bytes come until the connection ends, however it does."""
    taken = 0
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            taken += len(piece)
    return taken


@pytest.mark.covers("doors:untaken")
async def test_an_answer_that_nobody_takes_is_given_up(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(3)
    assert await rest(reader) < LARGE
    writer.close()


@pytest.mark.covers("doors:untaken")
async def test_an_answer_that_is_taken_slowly_arrives_whole(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    taken = 0
    while piece := await reader.read(1024 * 1024):
        taken += len(piece)
        await asyncio.sleep(0.02)
    writer.close()
    assert taken == LARGE


@pytest.mark.covers("doors:ahead")
async def test_requests_sent_ahead_are_answered_in_turn_but_not_without_end(port: int) -> None:
    few, one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 16, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await answer(port, few + one)).count(b"200 OK") == 17
    assert (await answer(port, few * 20)).count(b"200 OK") < 17


@pytest.mark.covers("doors:bodies")
@pytest.mark.parametrize("body", [b"zz\r\nhi\r\n", b"-1\r\nhi\r\n", b"2\nhi\n0\n\n", b"2\r\nhiXX", b"f" * 20 + b"\r\n"])
@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_a_body_that_is_none_is_told_so(port: int, body: bytes, pause: float) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = (head, body) if pause else (head + body,)
    told = await answer(port, *pieces, pause=pause)
    assert told.startswith(b"HTTP/1.1 400 ")
    assert told.count(b"HTTP/1.1") == 1
    # Behind a request that is answered nothing is said, so that no answer is taken for another's.
    before = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    assert b"400" not in await answer(port, before + head, body, pause=0.05)
    assert b"400" not in await answer(port, before, b"no request\r\n\r\n", pause=0.05)


@pytest.mark.covers("doors:trailers")
async def test_what_comes_after_a_body_is_no_header_and_has_an_end(port: int) -> None:
    head = b"POST /names HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    begun = head + b"2\r\nhi\r\n0\r\n"
    told = await answer(port, begun + b"Authorization: Bearer x\r\n\r\n")
    assert told.endswith(b"host connection transfer-encoding")
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < LARGE:
            writer.write(b"X: y\r\n" * 10_000)
            await writer.drain()
            sent += 60_000
    writer.close()
    assert sent < LARGE


@pytest.mark.covers("doors:patience")
@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo"])
async def test_who_has_just_connected_is_answered_by_a_server_that_ends(begun: bytes) -> None:
    async with served(Connection) as (port, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        while not server.server_state.connections:  # noqa: ASYNC110 uvicorn has no event for it
            await asyncio.sleep(0.01)
        server.should_exit = True
        while server.servers[0].is_serving():  # noqa: ASYNC110 uvicorn has no event for it
            await asyncio.sleep(0.01)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[len(begun) :])
        async with asyncio.timeout(60):
            reply = await reader.read()
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in reply
        assert reply.endswith(b"ok")
        writer.close()
