"""Reading a `text/event-stream` of JSON-RPC messages."""

from __future__ import annotations

from collections.abc import AsyncIterator

MAX_EVENT_BYTES = 16 * 1024 * 1024


async def event_payloads(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the payload of each event: its `data` lines, joined by newlines; comments and other fields are dropped.

    Raises `ValueError` when one event is larger than 16 MiB.
    """
    pending = bytearray()
    lines: list[bytes] = []
    size = 0
    async for chunk in chunks:
        pending += chunk
        *whole, rest = pending.split(b"\n")
        if len(rest) + size > MAX_EVENT_BYTES:
            raise ValueError("an event of the stream is too large")
        pending = bytearray(rest)
        for raw in whole:
            line = bytes(raw).rstrip(b"\r")
            if line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" "))
                size += len(line)
            elif not line and lines:
                yield b"\n".join(lines)
                lines, size = [], 0
    if lines:
        yield b"\n".join(lines)
