"""The bare forwarder: bare ASGI on uvicorn, uvloop and httptools, and one of some clients; bytes in, bytes out.

Run as `python -m benchmarks._rig.forwarder PORT UPSTREAM_PORT [CLIENT]`. It looks at nothing: what a gateway costs
beyond it is what the gateway decides and remembers. With `wire`, the hop is as cheap as the gateway's own; with
`aiohttp` it is what is written with well-kept libraries alone.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from benchmarks._rig.clients import CLIENTS, Client, Headers

Message = MutableMapping[str, Any]
PASSED = frozenset({b"content-type", b"accept", b"mcp-protocol-version", b"mcp-method", b"mcp-name"})


class Forwarder:
    """An ASGI application that sends each body on and each reply back."""

    def __init__(self, upstream: int, client: str = "wire") -> None:
        """`client` is one of `CLIENTS`."""
        self._making: Callable[[], Awaitable[Client]] = lambda: CLIENTS[client](upstream)
        self._client: asyncio.Future[Client] | None = None

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        if self._client is None:
            self._client = asyncio.ensure_future(self._making())
        client = self._client.result() if self._client.done() else await self._client
        headers: Headers = [pair for pair in scope["headers"] if pair[0] in PASSED]
        status, content_type, found = await client(scope["path"], headers, body)
        kept = [(b"content-type", content_type), (b"content-length", b"%d" % len(found))]
        await send({"type": "http.response.start", "status": status, "headers": kept})
        await send({"type": "http.response.body", "body": found})


if __name__ == "__main__":
    uvicorn.run(
        Forwarder(int(sys.argv[2]), *sys.argv[3:]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        log_level="error",
    )
