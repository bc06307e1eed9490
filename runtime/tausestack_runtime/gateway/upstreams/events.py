"""Reading a `text/event-stream` of JSON-RPC messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import NamedTuple

from tausestack_runtime.gateway.upstreams.wire_reply import TooLarge

MAX_EVENT_BYTES = 16 * 1024 * 1024
MAX_ID_BYTES = 1024


class Event(NamedTuple):
    """One event: its `data` lines joined by newlines, the stream's last id, and its `retry` where it has one."""

    data: bytes
    id: bytes
    retry_ms: int | None


async def event_payloads(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the payload of each event that has one; comments and other fields are dropped. Raises as `events` does."""
    async with aclosing(events(chunks)) as found:
        async for event in found:
            if event.data:
                yield event.data


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    """Yield each event of a stream, those without data too where they set an id or a `retry`.

    Raises `TooLarge` when one event is larger than 16 MiB.
    """
    lines: list[bytes] = []
    size, last_id = 0, b""
    retry: int | None = None
    said = False
    parts: list[bytes] = []
    begun = 0
    async for chunk in chunks:
        # Every byte is looked at once, however small the chunks are that it comes in.
        first, *following = chunk.split(b"\n")
        parts.append(first)
        begun += len(first)
        if begun + size > MAX_EVENT_BYTES:
            raise TooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
        for rest in following:
            line = b"".join(parts).rstrip(b"\r")
            parts, begun = [rest], len(rest)
            if line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" "))
                size += len(line)
            elif not line:
                if lines or said:
                    yield Event(b"\n".join(lines), last_id, retry)
                lines, size, retry, said = [], 0, None, False
            elif line.startswith(b"id:") and len(line) <= MAX_ID_BYTES:
                last_id, said = line[3:].removeprefix(b" "), True
            elif line.startswith(b"retry:") and line[6:].strip().isdigit():
                retry, said = int(line[6:].strip()[:9]), True
    if lines:
        yield Event(b"\n".join(lines), last_id, retry)
