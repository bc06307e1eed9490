"""The pool against peers that behave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tausestack_runtime.gateway.upstreams.wire import NotSent, TooLarge

pytestmark = pytest.mark.anyio


def soon(seconds: float = 10) -> float:
    return asyncio.get_running_loop().time() + seconds


def ok(body: bytes, *extra: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *extra, b"", body])


async def echo(_: Any, __: Any, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(ok(request.split(b"\r\n\r\n", 1)[1], b"X-One: 1", b"x-one: 2"))


@pytest.mark.covers("wire:reuse")
async def test_calls_one_after_the_other_share_a_connection(peer: Any, pools: Any, socket_path: str) -> None:
    async with peer(socket_path, echo) as server, pools(socket_path) as pool:
        for n in range(20):
            reply = await pool.request("POST", "/mcp", [(b"X-N", b"%d" % n)], b"body %d" % n, deadline=soon())
            assert reply.status == 200
            assert reply.headers[b"x-one"] == b"1, 2"
            assert await reply.read() == b"body %d" % n
        assert server.connections == 1
        assert server.requests[3] == (
            b"POST /mcp HTTP/1.1\r\nX-N: 3\r\nhost: localhost\r\ncontent-length: 6\r\n\r\nbody 3"
        )


@pytest.mark.covers("wire:cap")
async def test_no_more_connections_than_allowed_and_everyone_is_served(peer: Any, pools: Any, socket_path: str) -> None:
    async with peer(socket_path, echo) as server, pools(socket_path, max_connections=4) as pool:

        async def one(n: int) -> None:
            reply = await pool.request("POST", "/", [], b"%d" % n, deadline=soon())
            assert await reply.read() == b"%d" % n

        await asyncio.gather(*(one(n) for n in range(300)))
        assert server.most_open <= 4
        assert len(server.requests) == 300


@pytest.mark.covers("wire:cap")
async def test_a_call_that_gets_no_connection_in_time_was_not_sent(peer: Any, pools: Any, socket_path: str) -> None:
    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    async with peer(socket_path, hang) as server, pools(socket_path, max_connections=1) as pool:
        first = asyncio.ensure_future(pool.request("POST", "/", [], b"1", deadline=soon()))
        await server.until(lambda: len(server.requests) == 1)
        with pytest.raises(NotSent):
            await pool.request("POST", "/", [], b"2", deadline=soon(0.05))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        # The place of the call that was given up is free again.
        second = asyncio.ensure_future(pool.request("POST", "/", [], b"3", deadline=soon()))
        await server.until(lambda: len(server.requests) == 2)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


@pytest.mark.covers("wire:bodies")
async def test_chunked_and_large_bodies_arrive_whole(peer: Any, pools: Any, socket_path: str) -> None:
    large = bytes(range(256)) * 4096 * 6

    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, request: bytes) -> None:
        if request.startswith(b"GET /chunked"):
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for start in range(0, len(large), 100_000):
                piece = large[start : start + 100_000]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\nx-trailer: 1\r\n\r\n")
        elif request.startswith(b"GET /empty"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
        else:
            writer.write(ok(request.split(b"\r\n\r\n", 1)[1]))
            await writer.drain()

    async with peer(socket_path, answer) as server, pools(socket_path) as pool:
        for _ in range(2):
            chunked = await pool.request("GET", "/chunked", [], b"", deadline=soon())
            assert await chunked.read() == large
            echoed = await pool.request("POST", "/", [], large, deadline=soon())
            assert await echoed.read() == large
            empty = await pool.request("GET", "/empty", [], b"", deadline=soon())
            assert (empty.status, empty.headers, await empty.read()) == (204, {}, b"")
        assert server.connections == 1


@pytest.mark.covers("wire:slow-reader")
async def test_a_slow_reader_holds_its_server_back(peer: Any, pools: Any, socket_path: str) -> None:
    sent = 0

    async def flood(server: Any, _: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n")
        for _n in range(1024):
            writer.write(b"x" * 65536)
            sent += 65536
            try:
                async with asyncio.timeout(0.5):
                    await writer.drain()
            except TimeoutError:
                server.ended.set()
                await writer.drain()

    async with peer(socket_path, flood) as server, pools(socket_path) as pool:
        reply = await pool.request("GET", "/", [], b"", deadline=soon(30), max_body=2**27)
        async with asyncio.timeout(60):
            await server.ended.wait()  # the server waits for its reader
        assert sent < 2**23
        assert len(await reply.read()) == 2**26
        assert sent == 2**26


@pytest.mark.covers("wire:stream")
async def test_a_stream_is_read_as_it_comes(peer: Any, pools: Any, socket_path: str) -> None:
    go = asyncio.Event()

    async def events(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for n in range(3):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % n)
            await go.wait()
            go.clear()
        writer.write(b"0\r\n\r\n")

    async with peer(socket_path, events) as server, pools(socket_path) as pool:
        reply = await pool.request("GET", "/", [], b"", deadline=soon())
        seen = []
        async for chunk in reply.chunks():
            seen.append(chunk)
            go.set()
        assert b"".join(seen) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
        assert len(seen) == 3
        await (await pool.request("GET", "/", [], b"", deadline=soon())).aclose()
        assert server.connections == 1


@pytest.mark.covers("wire:bounds")
@pytest.mark.parametrize("framing", [b"content-length: 2000", b"transfer-encoding: chunked"])
async def test_a_body_past_its_bound_is_refused(peer: Any, pools: Any, socket_path: str, framing: bytes) -> None:
    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        body = b"x" * 2000
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        writer.write(b"7d0\r\n" + body + b"\r\n" if b"chunked" in framing else body)
        await writer.drain()

    async with peer(socket_path, answer), pools(socket_path) as pool:
        reply = await pool.request("GET", "/", [], b"", deadline=soon(), max_body=1999)
        with pytest.raises(TooLarge):
            await reply.read()


@pytest.mark.covers("wire:bounds")
async def test_an_endless_head_is_refused(peer: Any, pools: Any, socket_path: str) -> None:
    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for n in range(100_000):
            writer.write(b"x-%d: %b\r\n" % (n, b"y" * 1000))
            await writer.drain()

    async with peer(socket_path, answer) as server, pools(socket_path) as pool:
        with pytest.raises(TooLarge):
            await pool.request("GET", "/", [], b"", deadline=soon())
        await server.until(lambda: server.open == 0)


@pytest.mark.covers("wire:bounds")
@pytest.mark.parametrize(
    ("begun", "more", "says"),
    [
        (b"", b"1\r\n \r\n" * 10_000, "pieces"),
        (b"1;", b"x" * 60_000, "between"),
        (b"0\r\n", b"x: y\r\n" * 10_000, "between"),
    ],
    ids=["pieces", "extension", "trailers"],
)
async def test_a_body_of_nothing_but_framing_is_refused(
    peer: Any, pools: Any, socket_path: str, begun: bytes, more: bytes, says: str
) -> None:
    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + begun)
        for _i in range(1000):
            writer.write(more)
            await writer.drain()

    async with peer(socket_path, answer) as server, pools(socket_path) as pool:
        reply = await pool.request("GET", "/", [], b"", deadline=soon())
        with pytest.raises(TooLarge, match=says):
            await reply.read()
        await server.until(lambda: server.open == 0)


@pytest.mark.covers("wire:injection")
@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GET", "/a\r\nx: y", (b"a", b"b")),
        ("GET", "/a b", (b"a", b"b")),
        ("GET", "http://elsewhere/", (b"a", b"b")),
        ("GET", "/ñ", (b"a", b"b")),
        ("GE T", "/", (b"a", b"b")),
        ("GET\r\n", "/", (b"a", b"b")),
        ("GET", "/", (b"a\r\nb", b"c")),
        ("GET", "/", (b"a:", b"c")),
        ("GET", "/", (b"", b"c")),
        ("GET", "/", (b"a", b"b\r\nc: d")),
        ("GET", "/", (b"a", b"b\nc: d")),
        ("GET", "/", (b"a", b"b\n")),
        ("GET", "/", (b"a", b"b\0")),
        ("POST", "/", (b"Content-Length", b"0")),
        ("POST", "/", (b"Transfer-Encoding", b"chunked")),
        ("POST", "/", (b"Connection", b"close")),
        ("POST", "/", (b"Expect", b"100-continue")),
    ],
)
async def test_nothing_can_be_smuggled_into_a_request(
    peer: Any, pools: Any, socket_path: str, method: str, target: str, header: tuple[bytes, bytes]
) -> None:
    async with peer(socket_path, echo) as server, pools(socket_path) as pool:
        with pytest.raises(ValueError, match=r"request|pool"):
            await pool.request(method, target, [header], b"", deadline=soon())
        assert server.connections == 0


@pytest.mark.covers("wire:idle")
async def test_connections_that_nobody_uses_are_closed(peer: Any, pools: Any, socket_path: str) -> None:
    async with peer(socket_path, echo) as server, pools(socket_path, max_idle_seconds=0.05) as pool:
        replies = [pool.request("POST", "/", [], b"x", deadline=soon()) for _ in range(8)]
        for reply in await asyncio.gather(*replies):
            await reply.read()
        await server.until(lambda: server.open == 0)
        assert await (await pool.request("POST", "/", [], b"again", deadline=soon())).read() == b"again"


@pytest.mark.covers("wire:idle")
async def test_a_closed_pool_closes_its_connections_and_takes_no_more(peer: Any, pools: Any, socket_path: str) -> None:
    async with peer(socket_path, echo) as server, pools(socket_path) as pool:
        await (await pool.request("POST", "/", [], b"x", deadline=soon())).read()
        await pool.aclose()
        await server.until(lambda: server.open == 0)
        with pytest.raises(NotSent):
            await pool.request("POST", "/", [], b"x", deadline=soon())
