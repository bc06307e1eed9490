"""What a bare ASGI door needs: a body within its bounds, and work that ends when its caller goes away."""

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
        if not message.get("more_body"):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


async def while_connected(work: Awaitable[T], receive: Receive) -> T:
    """Return what the work returns; a caller that goes away cancels it, which raises `Cancelled` at its end.

    The work is done by the task that asks, so that it has ended too.
    """
    task = asyncio.current_task()
    assert task is not None
    left = False

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    def leave(watch: asyncio.Task[None]) -> None:
        nonlocal left
        if not watch.cancelled():
            left = True
            task.cancel()

    watch = asyncio.create_task(gone())
    watch.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise Cancelled("The caller went away") from None
        raise
    finally:
        watch.cancel()
