"""A loopback forwarder that adds a credential to each request: for suites and clients that know none.

Bytes pass as they came, a header's odd spaces and a wrong `Host` too, and each connection has one of its own upstream;
where one side ends, the other does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

MAX_HEAD = 1 << 20
_END_OF_HEAD = b"\r\n\r\n"


class Forwarder:
    """Forwards to one address."""

    def __init__(self, address: tuple[str, int], credential: str) -> None:
        self.started = threading.Event()
        self.url = ""
        self._address = address
        self._line = f"Authorization: Bearer {credential}\r\n".encode()
        self._stop = lambda: None

    def stop(self) -> None:
        """Have it end, from any thread."""
        self._stop()

    async def serve(self) -> None:
        """Serve on a free port until told to stop."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=MAX_HEAD)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.started.set()
        await stopped.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            up_reader, up_writer = await asyncio.open_connection(*self._address)
            there = asyncio.ensure_future(self._requests(reader, up_writer))
            back = asyncio.ensure_future(_copy(up_reader, writer))
            _, pending = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            up_writer.close()
        writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection's requests on, each head with the credential in it."""
        while True:
            head = await reader.readuntil(_END_OF_HEAD)
            line, _, fields = head.partition(b"\r\n")
            writer.write(line + b"\r\n" + self._line + fields)
            length, chunked = _framing(fields)
            if chunked:
                await _pass_chunks(reader, writer)
            while length:
                part = await reader.read(min(length, 1 << 16))
                if not part:
                    return
                length -= len(part)
                writer.write(part)
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(1 << 16):
        writer.write(part)
        await writer.drain()


async def _pass_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        size = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        writer.write(size + chunk)
        await writer.drain()
        if chunk == b"\r\n":
            return


def _framing(fields: bytes) -> tuple[int, bool]:
    """Return a body's length, and whether it comes in chunks."""
    lines = [line.partition(b":") for line in fields.split(b"\r\n")]
    named = {name.strip().lower(): value.strip().lower() for name, _, value in lines}
    return int(named.get(b"content-length", b"0")), named.get(b"transfer-encoding") == b"chunked"


@contextlib.contextmanager
def forwarding(url: str, credential: str) -> Iterator[Forwarder]:
    """Forward to a server's address with a credential, from a thread of its own."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    forwarder = Forwarder((parts.hostname, parts.port), credential)
    thread = threading.Thread(target=lambda: asyncio.run(forwarder.serve()))
    thread.start()
    assert forwarder.started.wait(60)
    try:
        yield forwarder
    finally:
        forwarder.stop()
        thread.join(10)
