"""Reading a `text/event-stream` of JSON-RPC messages, with what is needed to take it up again where it broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import NamedTuple

from tausestack.wire.reply import TooLarge

MAX_EVENT_BYTES = 16 * 1024 * 1024
MAX_ID_BYTES = 1024

BURST_LINES, LINES_A_SECOND = 8192, 4096
"""How many lines are read at once, and how many in the long run: who sends more is read more slowly."""
LINES_A_TURN = 64
"""After how many lines others have their turn."""

_MESSAGES = frozenset({b"", b"message"})
"""The types of the events that MCP is spoken in; a client hears of no other, such as a proxy's heartbeat."""


class Event(NamedTuple):
    """One event: its `data` lines joined by newlines, where it is a message; its id and `retry` where it has them."""

    data: bytes
    id: bytes | None = None
    retry_ms: int | None = None


async def event_payloads(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the payload of each event that has one; comments and other fields are dropped. Raises as `events` does."""
    async with aclosing(events(chunks)) as found:
        async for event in found:
            if event.data:
                yield event.data


async def events(chunks: AsyncIterator[bytes], most: int = MAX_EVENT_BYTES) -> AsyncGenerator[Event]:
    """Yield each event of a stream, those without data too where they set an id or a `retry`.

    Raises `TooLarge` when one event has more than `most` bytes.
    """
    held: list[bytes] = []
    size, number, retry, kind = 0, None, None, b""
    async with aclosing(_lines(chunks, most)) as lines:
        async for line in lines:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                if kind not in _MESSAGES:
                    held = []
                if held or number is not None or retry is not None:
                    yield Event(b"\n".join(held), number, retry)
                held, size, number, retry, kind = [], 0, None, None, b""
            elif name == b"data":
                held.append(value)
                size += len(value) + 1
                if size > most:
                    raise TooLarge(f"an event of the stream is larger than {most} bytes")
            elif name == b"event":
                kind = value
            elif name == b"id" and len(value) <= MAX_ID_BYTES and b"\0" not in value:
                number = value
            elif name == b"retry" and value.isdigit() and len(value) < 10:
                retry = int(value)
    if held and kind in _MESSAGES:
        yield Event(b"\n".join(held), number, retry)


async def _lines(chunks: AsyncIterator[bytes], most: int) -> AsyncGenerator[bytes]:
    """Yield lines without their ends; every byte is looked at once, however small the chunks that it comes in."""
    parts: list[bytes] = []
    size, pace = 0, _Pace()
    async for chunk in chunks:
        first, *whole = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > most:
            raise TooLarge(f"a line of the stream is larger than {most} bytes")
        for following in whole:
            yield b"".join(parts).rstrip(b"\r")
            parts, size = [following], len(following)
            await pace.line()
    if size:
        yield b"".join(parts).rstrip(b"\r")


class _Pace:
    """How fast a stream may bring lines, which may be of one byte, and each of which is work."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at, self._left, self._read = self._loop.time(), float(BURST_LINES), 0

    async def line(self) -> None:
        """Count a line, and wait where others have to be served first."""
        self._read += 1
        if self._read % LINES_A_TURN:
            return
        now = self._loop.time()
        self._left = min(BURST_LINES, self._left + (now - self._at) * LINES_A_SECOND) - LINES_A_TURN
        self._at = now
        await asyncio.sleep(max(0.0, -self._left / LINES_A_SECOND))
