"""The clients that a bare forwarder may have: the gateway's own, and aiohttp's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire import Pool

Headers = list[tuple[bytes, bytes]]
Client = Callable[[str, Headers, bytes], Awaitable[tuple[int, bytes, bytes]]]
"""Posts a body to a path; returns status, content type and body."""

DEADLINE_SECONDS = 30
MOST_CONNECTIONS = 64


async def wire(port: int) -> Client:
    """Return our own raw pooled client."""
    pool = Pool(Origin("http", "127.0.0.1", port), egress=Egress(frozenset({("127.0.0.1", port)})))
    loop = asyncio.get_running_loop()

    async def post(path: str, headers: Headers, body: bytes) -> tuple[int, bytes, bytes]:
        reply = await pool.request("POST", path, headers, body, deadline=loop.time() + DEADLINE_SECONDS)
        found = await reply.read()
        return reply.status, reply.headers[b"content-type"], found

    return post


async def aiohttp(port: int) -> Client:
    """Return aiohttp's client, the quickest of the well-kept ones."""
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    session = ClientSession(
        connector=TCPConnector(limit=MOST_CONNECTIONS), timeout=ClientTimeout(total=DEADLINE_SECONDS)
    )

    async def post(path: str, headers: Headers, body: bytes) -> tuple[int, bytes, bytes]:
        said = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        async with session.post(f"http://127.0.0.1:{port}{path}", data=body, headers=said) as reply:
            return reply.status, reply.headers["content-type"].encode(), await reply.read()

    return post


CLIENTS: dict[str, Callable[[int], Awaitable[Client]]] = {"wire": wire, "aiohttp": aiohttp}
