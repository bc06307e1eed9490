"""Requests that do not come, or do not end: the door waits for none of them forever."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn

from tausestack.errors import Cancelled
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.http.connection import Connection
from tausestack_runtime.gateway.http.patience import LEAST_TAKEN
from tausestack_runtime.gateway.http.reader import MOST_HEADERS, MOST_SMALL_PIECES, SMALL_PIECE

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


REST = 20
"""Seconds that a connection may rest: longer than a head may take."""
BUFFERED = 64 * 1024
"""Bytes that a socket holds at either end."""
PORTION = 1024 * 1024
"""Bytes of which it is noticed at the other end that they were taken."""
LARGE = 16 * PORTION
"""Bytes of an answer that no socket's buffers hold."""


class Timer:
    """Something to be done at a time, unless it is cancelled."""

    def __init__(self, when: float, work: Callable[[], Any]) -> None:
        self.when, self.work, self.cancelled = when, work, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """The running loop, but that its time goes by as it is told."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: list[Timer] = []
        self._now = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, work: Callable[[], Any]) -> Timer:
        self._timers.append(Timer(when, work))
        return self._timers[-1]

    def pass_by(self, seconds: float) -> None:
        """Let time go by, and do what falls into it."""
        end = self._now + seconds
        while due := [one for one in self._timers if one.when <= end and not one.cancelled]:
            timer = min(due, key=lambda one: one.when)
            self._timers.remove(timer)
            self._now = timer.when
            timer.work()
        self._now = end


class Door:
    """Reads the body, answers, and where it is asked slowly not before it is let."""

    crowd = None

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        try:
            body = await exchange.body()
        except Cancelled:
            return
        if exchange.path == "/slow":
            await self.open.wait()
        names = b" ".join(name for name, _ in exchange.raw_headers)
        await exchange.reply(200, {"/large": b"x" * LARGE, "/names": names, "/body": body}.get(exchange.path, b"ok"))


class Served:
    """A server that is running, with its clock and what its connections have read."""

    def __init__(self) -> None:
        self.door, self.clock, self.read, self.written = Door(), Clock(), 0, 0
        self.connections: list[Connection] = []
        served = self

        class Watched(Connection):
            def __init__(self, *given: Any, **more: Any) -> None:
                super().__init__(*given, **more)
                self._loop: Any = served.clock

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                served.connections.append(self)

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                served.read += len(data)

            def write(self, data: bytes) -> None:
                super().write(data)
                served.written += len(data)

        kind: Any = Watched
        self.server = uvicorn.Server(
            uvicorn.Config(self.door, http=kind, ws="none", lifespan="off", log_config=None, timeout_keep_alive=REST)
        )

    @property
    def left(self) -> int:
        """How many bytes of one large answer, at least, its last connection's socket has not taken yet."""
        return LARGE - self.written + self.connections[-1].transport.get_write_buffer_size()

    @property
    def closing(self) -> bool:
        """Whether its last connection closes, or has."""
        return self.connections[-1].transport.is_closing()


@contextlib.asynccontextmanager
async def serving() -> AsyncGenerator[tuple[int, Served]]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFERED)
        served = Served()
        running = asyncio.create_task(served.server._serve([sock]))
        await until(lambda: served.server.started)
        yield sock.getsockname()[1], served
        served.server.should_exit = True
        await running


@pytest.fixture
async def served() -> AsyncIterator[tuple[int, Served]]:
    async with serving() as found:
        yield found


async def until(holds: Callable[[], Any]) -> None:
    """Return once something is so."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 sockets and uvicorn have no event for it
            await asyncio.sleep(0.001)


class Caller:
    """A connection to the server; what it says has been read before anything else happens."""

    def __init__(self, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served, self.reader, self.writer = served, reader, writer

    async def say(self, *pieces: bytes) -> None:
        """Send pieces, each read alone."""
        for piece in pieces:
            before = self.served.read
            self.writer.write(piece)
            await until(lambda before=before, piece=piece: self.served.read == before + len(piece))

    async def hear(self) -> bytes:
        """Return one answer's body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head)
        return await self.reader.readexactly(int(length))

    async def rest(self) -> bytes:
        """Return all that comes until the connection is closed."""
        try:
            async with asyncio.timeout(60):
                return await self.reader.read()
        except ConnectionError:
            return b""


@contextlib.asynccontextmanager
async def calling(served: tuple[int, Served], limit: int = 2**16) -> AsyncGenerator[Caller]:
    port, server = served
    known = len(server.connections)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFERED)
        sock.connect(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
        try:
            await until(lambda: len(server.connections) > known)
            yield Caller(server, reader, writer)
        finally:
            writer.transport.abort()


async def answer(served: tuple[int, Served], sent: bytes) -> bytes:
    """Send something at once, and return all that comes until the connection is closed."""
    async with calling(served) as caller:
        caller.writer.write(sent)
        return await caller.rest()


@pytest.mark.covers("doors:patience")
@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"", Connection.head_seconds),
        (b"\r\n", Connection.head_seconds),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX", Connection.head_seconds),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", Connection.body_seconds),
    ],
)
async def test_a_request_that_does_not_come_is_not_waited_for(
    served: tuple[int, Served], sent: bytes, seconds: float
) -> None:
    async with calling(served) as caller:
        await caller.say(sent)
        caller.served.clock.pass_by(seconds - 0.1)
        assert not caller.served.closing
        caller.served.clock.pass_by(0.2)
        assert await caller.rest() == b""


@pytest.mark.covers("doors:patience")
async def test_trickled_bytes_buy_no_time(served: tuple[int, Served]) -> None:
    async with calling(served) as caller:
        await caller.say(b"GET / HTTP/1.1\r\n")
        for n in range(20):
            assert caller.served.closing == (n > Connection.head_seconds - 1)
            if caller.served.closing:
                break
            await caller.say(f"X{n}: y\r\n".encode())
            caller.served.clock.pass_by(1)
        assert await caller.rest() == b""


@pytest.mark.covers("doors:head-size")
async def test_a_head_without_end_is_refused(served: tuple[int, Served]) -> None:
    endless = b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 1_000_000
    assert not (await answer(served, endless)).startswith(b"HTTP/1.1 200")


@pytest.mark.covers("doors:patience")
async def test_an_answer_that_takes_long_is_waited_for(served: tuple[int, Served]) -> None:
    async with calling(served) as caller:
        await caller.say(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi\r\n")
        caller.served.clock.pass_by(10 * Connection.body_seconds)
        caller.served.door.open.set()
        assert (await caller.rest()).endswith(b"ok")


@pytest.mark.covers("doors:patience")
async def test_a_connection_is_kept_for_the_next_request_and_let_go_when_none_comes(
    served: tuple[int, Served],
) -> None:
    async with calling(served) as caller:
        for _ in range(2):
            await caller.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
            assert await caller.hear() == b"ok"
            caller.served.clock.pass_by(REST - 1)  # later than a head may be
            assert not caller.served.closing
        caller.served.clock.pass_by(2)
        assert await caller.rest() == b""


@pytest.mark.covers("doors:patience")
async def test_two_requests_at_once_are_answered_one_after_the_other(served: tuple[int, Served]) -> None:
    async with calling(served) as caller:
        await caller.say(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" * 2)
        caller.served.clock.pass_by(10 * Connection.head_seconds)
        caller.served.door.open.set()
        assert [await caller.hear(), await caller.hear()] == [b"ok", b"ok"]


@pytest.mark.covers("doors:heads")
async def test_a_request_that_comes_again_is_the_same_however_it_is_cut(served: tuple[int, Served]) -> None:
    head, body = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", (b"%02d" % n for n in range(9))
    last = head.replace(b"Host", b"Connection: close\r\nHost")
    pieces = [head + next(body), head + next(body), head, next(body), head[:20], head[20:] + next(body)]
    pieces += [head + next(body) + head + next(body), head + next(body)[:1], b"6", b"\r\n", last + next(body)]
    async with calling(served) as caller:
        await caller.say(*pieces)
        told = await caller.rest()
    assert [part[:2] for part in told.split(b"\r\n\r\n")[1:]] == [b"%02d" % n for n in range(8)]


@pytest.mark.covers("doors:untaken")
async def test_an_answer_that_nobody_takes_is_given_up(served: tuple[int, Served]) -> None:
    async with calling(served, limit=1024) as caller:
        await caller.say(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await caller.reader.readuntil(b"\r\n\r\n")
        await until(lambda: caller.served.connections[-1].blocked)
        caller.served.clock.pass_by(3 * Connection.write_seconds)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while piece := await caller.reader.read(65536):
                taken += len(piece)
        assert taken < LARGE


@pytest.mark.covers("doors:untaken")
async def test_an_answer_that_is_taken_slowly_arrives_whole(served: tuple[int, Served]) -> None:
    async with calling(served) as caller:
        await caller.say(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await caller.reader.readuntil(b"\r\n\r\n")
        for _ in range(LARGE // PORTION):
            left = caller.served.left
            await caller.reader.readexactly(PORTION)
            await until(lambda left=left: caller.served.left <= max(0, left - LEAST_TAKEN))
            caller.served.clock.pass_by(Connection.write_seconds * 0.6)
        assert await caller.rest() == b""


@pytest.mark.covers("doors:ahead")
async def test_requests_sent_ahead_are_answered_in_turn_but_not_without_end(served: tuple[int, Served]) -> None:
    few, one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 16, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await answer(served, few + one)).count(b"200 OK") == 17
    assert (await answer(served, few * 20)).count(b"200 OK") < 17


@pytest.mark.covers("doors:bodies")
@pytest.mark.parametrize("body", [b"zz\r\nhi\r\n", b"-1\r\nhi\r\n", b"2\nhi\n0\n\n", b"2\r\nhiXX", b"f" * 20 + b"\r\n"])
@pytest.mark.parametrize("apart", [False, True])
async def test_a_body_that_is_none_is_told_so(served: tuple[int, Served], body: bytes, apart: bool) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with calling(served) as caller:
        await caller.say(*((head, body) if apart else (head + body,)))
        told = await caller.rest()
    assert told.startswith(b"HTTP/1.1 400 ")
    assert told.count(b"HTTP/1.1") == 1
    # Behind a request that is still answered nothing is said, so that no answer is taken for another's.
    before = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    async with calling(served) as caller:
        await caller.say(before, b"no request\r\n\r\n")
        assert await caller.rest() == b""
    async with calling(served) as caller:
        await caller.say(before + head)
        caller.writer.write(body)
        caller.served.door.open.set()
        told = await caller.rest()
    assert re.findall(rb"HTTP/1.1 (\d+)", told) == [b"200", b"400"]


@pytest.mark.covers("doors:pieces")
async def test_a_body_in_ever_so_many_small_pieces_is_told_so(served: tuple[int, Served]) -> None:
    head = b"POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    for pieces, told in ((MOST_SMALL_PIECES, b"x" * 10), (MOST_SMALL_PIECES + 1, b"send larger ones.")):
        assert (await answer(served, head + b"1\r\nx\r\n" * pieces + b"0\r\n\r\n")).endswith(told)
    large = b"%x\r\n%b\r\n" % (SMALL_PIECE, b"y" * SMALL_PIECE)
    assert (await answer(served, head + large * (MOST_SMALL_PIECES + 1) + b"0\r\n\r\n")).endswith(b"y" * 10)


@pytest.mark.covers("doors:head-size")
async def test_a_head_of_more_headers_than_anybody_sends_is_refused(served: tuple[int, Served]) -> None:
    for more, status in ((MOST_HEADERS - 2, b"200"), (MOST_HEADERS - 1, b"431")):
        lines = b"".join(b"X-%d: y\r\n" % number for number in range(more))
        told = await answer(served, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")
        assert told.startswith(b"HTTP/1.1 " + status)


@pytest.mark.covers("doors:trailers")
async def test_what_comes_after_a_body_is_no_header_and_has_an_end(served: tuple[int, Served]) -> None:
    head = b"POST /names HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    begun = head + b"2\r\nhi\r\n0\r\n"
    told = await answer(served, begun + b"Authorization: Bearer x\r\n\r\n")
    assert told.endswith(b"host connection transfer-encoding")
    _, writer = await asyncio.open_connection("127.0.0.1", served[0])
    writer.write(begun)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < LARGE:
            writer.write(b"X: y\r\n" * 10_000)
            await writer.drain()
            sent += 60_000
    writer.close()
    assert sent < LARGE


@pytest.mark.covers("doors:heads")
@pytest.mark.parametrize("version", [b"2.0", b"0.9"])
async def test_a_version_of_http_that_is_not_spoken_is_told_so(served: tuple[int, Served], version: bytes) -> None:
    told = await answer(served, b"GET / HTTP/" + version + b"\r\nHost: x\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 505 ")
    assert told.endswith(b"HTTP/1.1 is spoken here.")


@pytest.mark.covers("doors:patience")
@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo"])
async def test_who_has_just_connected_is_answered_by_a_server_that_ends(begun: bytes) -> None:
    async with serving() as served, calling(served) as caller:
        await caller.say(begun)
        server = caller.served.server
        server.should_exit = True
        await until(lambda: not server.servers[0].is_serving())
        caller.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[len(begun) :])
        reply = await caller.rest()
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in reply
        assert reply.endswith(b"ok")
