"""The pool over TCP and TLS: what it says to a server, whom it trusts, and what a break tells there."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire import Broken, NotSent, Pool

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def asked(pool: Pool, body: bytes = b"x", seconds: float = 10) -> bytes:
    deadline = asyncio.get_running_loop().time() + seconds
    return await (await pool.request("POST", "/mcp", [], body, deadline=deadline)).read()


async def at_loopback(_: str, __: int) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def pool_at(origin: Origin, **options: Any) -> AsyncIterator[Pool]:
    """Make a pool for an origin that may be on loopback."""
    pool = Pool(origin, egress=Egress(frozenset({(origin.host, origin.port)}), at_loopback), **options)
    try:
        yield pool
    finally:
        await pool.aclose()


@asynccontextmanager
async def served(requests: list[bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve every request with `ok` on a free port, and note their heads."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                requests.append(head + await reader.readexactly(length))
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()
        for writer in writers:
            writer.transport.abort()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[ssl.SSLContext, ssl.SSLContext]]:
    """Make a certificate for a name; return a server's context with it, and a client's that trusts it."""

    def make(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        folder: Path = tmp_path_factory.mktemp("certificates")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        try:
            known: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            known = x509.DNSName(name)
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.SubjectAlternativeName([known]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = builder.sign(key, hashes.SHA256())
        plain = serialization.NoEncryption()
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / "both.pem").write_bytes(key.private_bytes(pem, pkcs8, plain) + made.public_bytes(pem))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "both.pem")
        return server, ssl.create_default_context(cafile=str(folder / "both.pem"))

    return make


@pytest.mark.covers("wire:origin")
async def test_calls_share_a_connection_and_name_their_origin() -> None:
    requests: list[bytes] = []
    async with served(requests) as port, pool_at(Origin("http", "server.example", port), max_connections=1) as pool:
        assert [await asked(pool) for _ in range(3)] == [b"ok"] * 3
        assert requests[2] == b"POST /mcp HTTP/1.1\r\nhost: server.example:%d\r\ncontent-length: 1\r\n\r\nx" % port
        with pytest.raises(ValueError, match="host"):
            await pool.request("GET", "/", [(b"Host", b"other")], b"", deadline=asyncio.get_running_loop().time() + 1)
        large = b"x" * 3_000_000
        assert await asked(pool, large) == b"ok"
        assert requests[3].endswith(large)


@pytest.mark.covers("wire:origin")
@pytest.mark.parametrize("host", ["server.example", "127.0.0.1"])
async def test_tls_is_verified_by_the_name_that_the_url_has(certificates: Any, host: str) -> None:
    server, client = certificates(host)
    named: list[str | None] = []
    server.sni_callback = lambda _, name, __: named.append(name)
    requests: list[bytes] = []
    async with served(requests, server) as port:
        async with pool_at(Origin("https", host, port), tls=client) as pool:
            assert [await asked(pool) for _ in range(3)] == [b"ok"] * 3
            assert await asked(pool, b"x" * 3_000_000) == b"ok"
        assert named == [host if host == "server.example" else None]  # one handshake; an address is no server name
        async with pool_at(Origin("https", "other.example", port), tls=client) as pool:
            with pytest.raises(NotSent, match="certificate"):
                await asked(pool)
        async with pool_at(Origin("https", host, port)) as pool:  # the machine's authorities don't know it
            with pytest.raises(NotSent, match="certificate"):
                await asked(pool)
        assert len(requests) == 4


@pytest.mark.covers("wire:network-breaks")
async def test_where_no_connection_is_made_nothing_was_sent() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        for scheme in ("http", "https"):
            async with pool_at(Origin(scheme, "127.0.0.1", port)) as pool:
                with pytest.raises(NotSent, match="takes no connections"):
                    await asked(pool)
        bound.listen(0)
        with socket.socket() as first:
            first.connect(("127.0.0.1", port))  # the backlog is full: the next one's greeting is dropped
            async with pool_at(Origin("http", "127.0.0.1", port)) as pool:
                with pytest.raises(NotSent, match="in time"):
                    await asked(pool, seconds=0.2)
        async with pool_at(Origin("https", "127.0.0.1", port)) as pool:
            with pytest.raises(NotSent):
                await asked(pool, seconds=0.2)  # nobody greets back


class Scripted:
    """A server on a thread of its own, so that what it does with a connection is done when it says so."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(60)
        self.port = self.listener.getsockname()[1]
        self._made: list[socket.socket] = []

    def accept(self) -> socket.socket:
        made, _ = self.listener.accept()
        made.settimeout(60)
        self._made.append(made)
        return made

    def answer(self, made: socket.socket) -> None:
        made.recv(65536)
        made.sendall(OK)

    def close(self) -> None:
        for made in (*self._made, self.listener):
            made.close()


@asynccontextmanager
async def used_connection() -> AsyncIterator[tuple[Pool, socket.socket, Scripted]]:
    """Make a pool whose one connection has had its first exchange."""
    server = Scripted()
    accepted: list[socket.socket] = []

    def first() -> None:
        accepted.append(server.accept())
        server.answer(accepted[0])

    try:
        async with pool_at(Origin("http", "127.0.0.1", server.port), max_connections=1) as pool:
            serving = threading.Thread(target=first)
            serving.start()
            assert await asked(pool) == b"ok"
            await asyncio.to_thread(serving.join)
            yield pool, accepted[0], server
    finally:
        server.close()


@pytest.mark.covers("wire:network-breaks")
async def test_a_connection_that_was_closed_as_the_request_went_out_means_not_sent() -> None:
    async with used_connection() as (pool, accepted, server):
        asyncio.get_running_loop().call_soon(accepted.close)  # after the loop looks, before the request is written
        with pytest.raises(NotSent):
            await asked(pool)
        again = asyncio.ensure_future(asked(pool))
        await asyncio.to_thread(lambda: server.answer(server.accept()))
        assert await again == b"ok"


@pytest.mark.covers("wire:not-sent")
@pytest.mark.parametrize("last", [b"", OK.replace(b"ok", b"no")], ids=["its end", "a reply to nothing"])
async def test_what_a_connection_brings_before_the_request_is_written_sends_it_by_another(last: bytes) -> None:
    async with used_connection() as (pool, accepted, server):
        accepted.sendall(last)
        accepted.shutdown(socket.SHUT_WR)
        call = asyncio.ensure_future(asked(pool))
        await asyncio.to_thread(lambda: server.answer(server.accept()))
        assert await call == b"ok"
        assert accepted.recv(1) == b"", "nothing of it came here"


@pytest.mark.covers("wire:network-breaks")
@pytest.mark.parametrize("taken", [65536, 100])
async def test_a_used_connection_that_ends_after_some_was_read_means_broken(taken: int) -> None:
    async with used_connection() as (pool, accepted, _):
        call = asyncio.ensure_future(asked(pool, b"x" * 1000))

        def read_and_end() -> None:
            accepted.recv(taken)
            accepted.close()  # an end where all was read, a reset where not

        await asyncio.to_thread(read_and_end)
        with pytest.raises(Broken):
            await call


@pytest.mark.covers("wire:open-ended")
async def test_a_reply_without_a_length_ends_with_its_connection_unless_that_is_reset() -> None:
    server = Scripted()

    def serve(head: bytes, reset: bool) -> None:
        made = server.accept()
        made.recv(65536)
        made.sendall(head)
        if reset:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()

    try:
        async with pool_at(Origin("http", "127.0.0.1", server.port), max_connections=1) as pool:
            for head in (b"HTTP/1.0 200 OK\r\n\r\nall of it", b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\nall of it"):
                call = asyncio.ensure_future(asked(pool))
                await asyncio.to_thread(serve, head, False)
                assert await call == b"all of it"
            call = asyncio.ensure_future(asked(pool))
            await asyncio.to_thread(serve, b"HTTP/1.1 200 OK\r\n\r\nhalf of", True)
            with pytest.raises(Broken):
                await call
    finally:
        server.close()


@pytest.mark.covers("wire:network-breaks")
async def test_a_new_connection_that_is_reset_means_broken() -> None:
    server = Scripted()
    try:
        async with pool_at(Origin("http", "127.0.0.1", server.port)) as pool:
            call = asyncio.ensure_future(asked(pool))

            def reset() -> None:
                accepted = server.accept()
                accepted.recv(1, socket.MSG_PEEK)
                accepted.close()

            await asyncio.to_thread(reset)
            with pytest.raises(Broken):
                await call
    finally:
        server.close()


@pytest.mark.covers("wire:network-breaks")
async def test_what_was_sent_over_tls_and_not_answered_means_broken(certificates: Any) -> None:
    context, client = certificates("127.0.0.1")
    server = Scripted()
    try:
        async with pool_at(Origin("https", "127.0.0.1", server.port), tls=client) as pool:

            def answer_once() -> None:
                with context.wrap_socket(server.accept(), server_side=True) as made:
                    server.answer(made)
                    made.recv(65536)

            serving = threading.Thread(target=answer_once)
            serving.start()
            assert await asked(pool) == b"ok"
            with pytest.raises(Broken):
                await asked(pool)
            await asyncio.to_thread(serving.join)
    finally:
        server.close()
