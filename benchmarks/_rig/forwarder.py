"""The bare forwarder: bare ASGI on uvicorn, uvloop and httptools, and our raw pooled client; bytes in, bytes out.

Run as `python -m benchmarks._rig.forwarder PORT UPSTREAM_PORT`. It looks at nothing: what a gateway costs beyond it is
what the gateway decides and remembers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire import Pool

Message = MutableMapping[str, Any]
PASSED = frozenset({b"content-type", b"accept", b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
DEADLINE_SECONDS = 30


class Forwarder:
    """An ASGI application that sends each body on and each reply back."""

    def __init__(self, upstream: int) -> None:
        self._pool = Pool(Origin("http", "127.0.0.1", upstream), egress=Egress(frozenset({("127.0.0.1", upstream)})))

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        headers = [pair for pair in scope["headers"] if pair[0] in PASSED]
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        reply = await self._pool.request("POST", scope["path"], headers, body, deadline=deadline)
        found = await reply.read()
        kept = [(b"content-type", reply.headers[b"content-type"]), (b"content-length", b"%d" % len(found))]
        await send({"type": "http.response.start", "status": reply.status, "headers": kept})
        await send({"type": "http.response.body", "body": found})


if __name__ == "__main__":
    uvicorn.run(
        Forwarder(int(sys.argv[2])),
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
