"""Reading a `text/event-stream` with what is needed to take it up again where it broke."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from tausestack_runtime.gateway.upstreams.wire import TooLarge

MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_ID_BYTES = 1024


@dataclass(frozen=True)
class Event:
    """One event: its payload, which may be empty, and its id and the pause before a new attempt in ms, if any."""

    payload: bytes
    id: bytes | None = None
    retry: int | None = None


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    """Yield the events as they end; raises `TooLarge` for one of more than 8 MiB."""
    held: list[bytes] = []
    size, number, retry = 0, None, None
    async for line in _lines(chunks):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if held or number is not None or retry is not None:
                yield Event(b"\n".join(held), number, retry)
            held, size, number, retry = [], 0, None, None
        elif name == b"data":
            held.append(value)
            size += len(value) + 1
            if size > MAX_EVENT_BYTES:
                raise TooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        elif name == b"id" and len(value) <= MAX_ID_BYTES and b"\0" not in value:
            number = value
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            retry = int(value)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield whole lines; every byte is looked at once, however small the chunks are that it comes in."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *whole = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > MAX_EVENT_BYTES:
            raise TooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        for following in whole:
            yield b"".join(parts).rstrip(b"\r")
            parts, size = [following], len(following)
