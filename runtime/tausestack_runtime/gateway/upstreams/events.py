"""Reading a `text/event-stream` of JSON-RPC messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from tausestack_runtime.gateway.upstreams.wire_reply import TooLarge

MAX_EVENT_BYTES = 16 * 1024 * 1024


async def event_payloads(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the payload of each event: its `data` lines, joined by newlines; comments and other fields are dropped.

    Raises `TooLarge` when one event is larger than 16 MiB.
    """
    pending = bytearray()
    lines: list[bytes] = []
    size = 0
    async for chunk in chunks:
        pending += chunk
        *whole, rest = pending.split(b"\n")
        if len(rest) + size > MAX_EVENT_BYTES:
            raise TooLarge(f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes")
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
