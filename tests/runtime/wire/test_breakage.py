"""What the pool says when a server refuses, dies, hangs or lies: above all, whether the call may have run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import textwrap
from typing import Any

import pytest

from tausestack_runtime.gateway.upstreams.wire import Broken, NotSent, Pool, TimedOut

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def soon(seconds: float = 10) -> float:
    return asyncio.get_running_loop().time() + seconds


async def fine(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
    writer.write(OK)


async def asked(pool: Pool, body: bytes = b"x", seconds: float = 10) -> bytes:
    return await (await pool.request("POST", "/", [], body, deadline=soon(seconds))).read()


@pytest.mark.covers("wire:not-sent")
async def test_no_server_means_not_sent(pools: Any, socket_path: str) -> None:
    async with pools(socket_path) as pool:
        with pytest.raises(NotSent):
            await asked(pool)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(socket_path)  # and never listens
            with pytest.raises(NotSent):
                await asked(pool)


@pytest.mark.covers("wire:not-sent")
@pytest.mark.parametrize("size", [10, 4_000_000])
async def test_a_server_that_dies_before_reading_means_not_sent(pools: Any, socket_path: str, size: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(socket_path)
        listening.listen()
        listening.setblocking(False)
        async with pools(socket_path) as pool:
            call = asyncio.ensure_future(asked(pool, b"x" * size))
            accepted, _ = await loop.sock_accept(listening)
            accepted.setblocking(False)
            await readable(accepted)
            accepted.close()  # with the request unread: the kernel resets
            with pytest.raises(NotSent):
                await call


@pytest.mark.covers("wire:in-doubt")
async def test_a_server_that_dies_after_reading_means_broken(peer: Any, pools: Any, socket_path: str) -> None:
    async def die(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.close()

    async with peer(socket_path, die) as server, pools(socket_path) as pool:
        with pytest.raises(Broken):
            await asked(pool)
        assert len(server.requests) == 1


@pytest.mark.covers("wire:in-doubt")
@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    ],
)
async def test_a_reply_that_is_cut_or_garbled_means_broken(peer: Any, pools: Any, socket_path: str, cut: bytes) -> None:
    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.write(cut)
        writer.close()

    async with peer(socket_path, answer), pools(socket_path) as pool:
        with pytest.raises(Broken):
            await asked(pool)


@pytest.mark.covers("wire:not-sent")
async def test_a_connection_closed_while_idle_costs_the_next_call_nothing(
    peer: Any, pools: Any, socket_path: str
) -> None:
    async def once(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.write(OK)
        writer.close()

    async with peer(socket_path, once) as server, pools(socket_path) as pool:
        for _ in range(50):  # the close may be seen before the next request, or by it
            with contextlib.suppress(NotSent):
                assert await asked(pool) == b"ok"
        assert server.connections == len(server.requests)


@pytest.mark.covers("wire:not-sent")
async def test_a_pool_that_is_closed_before_a_request_is_written_has_not_sent_it(
    peer: Any, pools: Any, socket_path: str
) -> None:
    async with peer(socket_path, fine) as server, pools(socket_path) as pool:
        assert await asked(pool) == b"ok"
        call = asyncio.ensure_future(asked(pool))
        closing = asyncio.ensure_future(pool.aclose())  # begins as soon as the call has its connection
        with pytest.raises(NotSent):
            await call
        await closing
        assert len(server.requests) == 1


@pytest.mark.covers("wire:unsolicited")
async def test_a_reply_that_nobody_asked_for_reaches_nobody(peer: Any, pools: Any, socket_path: str) -> None:
    async def twice(server: Any, _: Any, writer: asyncio.StreamWriter, __: bytes) -> None:
        stray = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray"
        writer.write(OK + stray if len(server.requests) == 1 else OK)

    async with peer(socket_path, twice) as server, pools(socket_path) as pool:
        for _ in range(5):
            assert await asked(pool) == b"ok"
        assert server.connections == 2


@pytest.mark.covers("wire:deadline")
@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"])
async def test_the_deadline_holds_for_head_and_body(peer: Any, pools: Any, socket_path: str, begun: bytes) -> None:
    async def hang(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(begun)
        await reader.read(1)
        server.ended.set()

    async with peer(socket_path, hang) as server, pools(socket_path) as pool:
        with pytest.raises(TimedOut):
            await asked(pool, seconds=0.1)
        async with asyncio.timeout(60):
            await server.ended.wait()
        with pytest.raises(NotSent):
            await asked(pool, seconds=-1)
        assert len(server.requests) == 1


@pytest.mark.covers("wire:cancel")
@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"])
async def test_cancelling_the_caller_closes_the_connection(
    peer: Any, pools: Any, socket_path: str, begun: bytes
) -> None:
    async def hang(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(begun)
        await reader.read(1)
        server.ended.set()

    async with peer(socket_path, hang) as server, pools(socket_path) as pool:
        call = asyncio.ensure_future(asked(pool))
        await server.until(lambda: len(server.requests) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(60):
            await server.ended.wait()


@pytest.mark.covers("wire:cancel")
async def test_closing_an_unfinished_stream_closes_the_connection(peer: Any, pools: Any, socket_path: str) -> None:
    async def stream(server: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read(1)
        server.ended.set()

    async with peer(socket_path, stream) as server, pools(socket_path, max_connections=1) as pool:
        for _ in range(3):
            server.ended.clear()
            reply = await pool.request("GET", "/", [], b"", deadline=soon())
            async with contextlib.aclosing(reply.chunks()) as chunks:
                async for chunk in chunks:
                    assert chunk == b"x"
                    break
            await reply.aclose()
            async with asyncio.timeout(60):
                await server.ended.wait()


@pytest.mark.covers("wire:cancel")
async def test_a_caller_cancelled_as_its_reply_comes_leaves_the_next_call_alone(
    peer: Any, pools: Any, socket_path: str
) -> None:
    async with peer(socket_path, fine), pools(socket_path, max_connections=2) as pool:

        async def hasty(n: int) -> None:
            task = asyncio.ensure_future(asked(pool))
            asyncio.get_running_loop().call_later(n * 0.0001, task.cancel)
            await asyncio.gather(task, return_exceptions=True)

        async def calm() -> None:
            for _ in range(20):
                assert await asked(pool) == b"ok"

        await asyncio.gather(*(hasty(n % 50) for n in range(200)), calm(), calm())
        assert await asked(pool) == b"ok"


@pytest.mark.covers("wire:backlog")
async def test_a_full_backlog_is_waited_for(pools: Any, socket_path: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(socket_path)
        listening.listen(0)
        listening.setblocking(False)
        async with pools(socket_path) as pool:
            filling = fill(socket_path)
            with pytest.raises(NotSent):
                await asked(pool, seconds=0.1)
            calls = [asyncio.ensure_future(asked(pool, b"%d" % n)) for n in range(8)]
            for connection in filling:
                (await loop.sock_accept(listening))[0].close()
                connection.close()
            accepted = []
            for _ in calls:
                connection, _ = await loop.sock_accept(listening)
                accepted.append(connection)
                connection.setblocking(False)
                await loop.sock_recv(connection, 4096)
                await loop.sock_sendall(connection, OK)
            assert await asyncio.gather(*calls) == [b"ok"] * 8
            for connection in accepted:
                connection.close()


def fill(path: str) -> list[socket.socket]:
    """Connect until the backlog takes no more."""
    made: list[socket.socket] = []
    while True:
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        try:
            one.connect(path)
        except BlockingIOError:
            one.close()
            return made
        made.append(one)


SERVER = textwrap.dedent("""
    import asyncio, os, socket, sys

    async def serve(reader, writer):
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0]))
            os.write(int(sys.argv[2]), body + b"\\n")
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")

    async def main():
        sock = socket.socket(fileno=int(sys.argv[1]))
        async with await asyncio.start_unix_server(serve, sock=sock) as server:
            await server.serve_forever()

    asyncio.run(main())
""")


@pytest.mark.covers("wire:kill")
async def test_a_server_killed_under_load_runs_no_call_twice_and_none_that_was_said_unsent(
    pools: Any, socket_path: str, tmp_path: Any
) -> None:
    effects = os.open(tmp_path / "effects", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(socket_path)
    listening.listen(256)
    done: list[bytes] = []
    doubtful: list[bytes] = []
    unsent: list[bytes] = []
    progress = asyncio.Event()
    stop = False

    async def start() -> asyncio.subprocess.Process:
        passed = (listening.fileno(), effects)
        command = [sys.executable, "-c", SERVER, *(str(fd) for fd in passed)]
        return await asyncio.create_subprocess_exec(*command, pass_fds=passed, stderr=asyncio.subprocess.DEVNULL)

    async def client(pool: Pool, name: int) -> None:
        n = 0
        while not stop:
            n += 1
            call = b"%d-%d" % (name, n)
            while True:
                try:
                    assert await asked(pool, call, 20) == b"ok"
                    done.append(call)
                    progress.set()
                except NotSent:
                    unsent.append(call)
                    continue  # the very call again
                except Broken:
                    doubtful.append(call)
                break

    try:
        async with pools(socket_path, max_connections=16) as pool:
            clients = [asyncio.ensure_future(client(pool, name)) for name in range(16)]
            for _ in range(3):
                server = await start()
                before = len(done)
                async with asyncio.timeout(20):
                    while len(done) < before + 300:
                        progress.clear()
                        await progress.wait()
                server.send_signal(signal.SIGKILL)
                await server.wait()
            server = await start()
            stop = True
            await asyncio.gather(*clients)
            server.terminate()
            await server.wait()
    finally:
        listening.close()
        os.close(effects)
    ran = (tmp_path / "effects").read_bytes().split()
    assert len(ran) == len(set(ran)), "a call ran twice"
    assert set(done) <= set(ran), "a call that was answered did not run"
    assert set(ran) <= set(done) | set(doubtful), "a call ran and nobody was told"


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read, without reading it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)
