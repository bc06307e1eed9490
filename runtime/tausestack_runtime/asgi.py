"""What every bare ASGI door needs: a body within its bounds, and work that ends when its caller goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from tausestack.errors import Cancelled, PayloadTooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")


async def read_body(receive: Receive, most: int) -> bytes:
    """Return a request's whole body.

    Raises `PayloadTooLarge` above `most` bytes, and `Cancelled` where the caller went away before its end.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("The caller went away")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise PayloadTooLarge(f"A request may have {most} bytes at most", limit=most)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def while_connected(work: Awaitable[T], receive: Receive) -> T:
    """Return what the work returns; a caller that goes away cancels it, which raises `Cancelled` at its end."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})  # its line in the ledger, and its upstream's connection, are its own to end
    raise Cancelled("The caller went away")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
