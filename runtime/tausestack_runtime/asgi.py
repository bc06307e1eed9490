"""What a bare ASGI door needs: a body within its bounds, and work that ends when its caller goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeVar

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


class Departure(Protocol):
    """How a caller's going away is learnt."""

    def watch(self, leave: Callable[[], None]) -> None:
        """Have `leave` called when the caller goes away, at once if it has."""
        ...

    def forget(self) -> None:
        """Have it called no more."""
        ...


class Awaited:
    """A departure that only whoever waits for it learns of, as ASGI has it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watch: asyncio.Task[None] | None = None

    def watch(self, leave: Callable[[], None]) -> None:
        """Have `leave` called when the caller goes away."""
        self._watch = asyncio.create_task(self._gone())
        self._watch.add_done_callback(lambda watch: None if watch.cancelled() else leave())

    def forget(self) -> None:
        """Have it called no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue


async def while_connected(work: Awaitable[T], departure: Departure, task: asyncio.Task[Any] | None = None) -> T:
    """Return what the work returns; a caller that goes away cancels it, which raises `Cancelled` at its end.

    The work is done by the task that asks, so that its line in the ledger and its upstream's connection have ended too.
    `task` is that task, where it is known: to ask for it takes a system call.
    """
    task = task or asyncio.current_task()
    assert task is not None
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        task.cancel()

    departure.watch(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise Cancelled("The caller went away") from None
        raise
    finally:
        departure.forget()
