"""Replies that come compressed, though they were asked for as they are."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tausestack_runtime.gateway.upstreams.wire import Broken, Pool, TooLarge

pytestmark = pytest.mark.anyio

SAID = b'{"jsonrpc":"2.0","id":1,"result":{"said":"' + b"aguacate " * 9_000 + b'"}}'


def raw_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(body) + made.flush()


def reply(encoding: str, body: bytes, *, chunk: int = 0) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\n"
    if not chunk:
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + b"".join(
        b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""]
    )


def answering(*replies: bytes) -> Callable[..., Any]:
    left = list(replies)

    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        writer.write(left.pop(0))

    return answer


async def asked(pool: Pool, most: int = 1_000_000) -> bytes:
    deadline = asyncio.get_running_loop().time() + 60
    return await (await pool.request("POST", "/mcp", [], b"x", deadline=deadline, max_body=most)).read()


@pytest.mark.covers("wire:encodings")
@pytest.mark.parametrize("chunk", [0, 1, 1000])
@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:100]) + gzip.compress(body[100:])),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
    ids=["gzip", "x-gzip", "two members", "zlib", "raw"],
)
async def test_what_is_compressed_is_read(
    peer: Any, pools: Any, socket_path: str, encoding: str, compress: Callable[[bytes], bytes], chunk: int
) -> None:
    made = reply(encoding, compress(SAID), chunk=chunk)
    async with peer(socket_path, answering(made, made, made)) as server, pools(socket_path) as pool:
        assert [await asked(pool) for _ in range(3)] == [SAID] * 3
        assert server.connections == 1


@pytest.mark.covers("wire:encodings")
@pytest.mark.parametrize("chunk", [0, 1000])
async def test_what_becomes_too_large_is_left(peer: Any, pools: Any, socket_path: str, chunk: int) -> None:
    bomb = gzip.compress(bytes(200_000_000))
    async with peer(socket_path, answering(reply("gzip", bomb, chunk=chunk))), pools(socket_path) as pool:
        with pytest.raises(TooLarge):
            await asked(pool)


@pytest.mark.covers("wire:encodings")
@pytest.mark.parametrize(
    "body", [b"plain", gzip.compress(SAID)[:-9], gzip.compress(SAID) + b"more"], ids=["plain", "cut", "more"]
)
async def test_what_is_not_whole_or_not_compressed_is_broken(
    peer: Any, pools: Any, socket_path: str, body: bytes
) -> None:
    async with peer(socket_path, answering(reply("gzip", body))), pools(socket_path) as pool:
        with pytest.raises(Broken, match="compress"):
            await asked(pool)


@pytest.mark.covers("wire:encodings")
async def test_a_stream_is_read_as_it_comes(peer: Any, pools: Any, socket_path: str) -> None:
    events = [b"data: %d\n\n" % number for number in range(5)]
    seen = asyncio.Queue[bytes]()

    async def answer(_: Any, __: Any, writer: asyncio.StreamWriter, ___: bytes) -> None:
        made = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in events:
            piece = made.compress(event) + made.flush(zlib.Z_SYNC_FLUSH)
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            assert await seen.get() == event
        last = made.flush()
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))

    async with peer(socket_path, answer), pools(socket_path) as pool:
        found = await pool.request("POST", "/mcp", [], b"x", deadline=asyncio.get_running_loop().time() + 60)
        async for chunk in found.chunks():
            seen.put_nowait(chunk)
