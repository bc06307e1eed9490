"""The connection that a request came by, as far as the request knows it, and a body that is still on its way."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tausestack.errors import Cancelled, PayloadTooLarge

UNREAD_BYTES = 64 * 1024
"""How much of a body waits in memory for whoever is to read it before the rest is left in the socket."""


class Line(Protocol):
    """A caller's connection."""

    inside: bool
    """Whether it is a Unix socket, which only our own processes can reach."""
    gone: bool
    """Whether the caller has gone."""
    blocked: bool
    """Whether the caller has to take what it was sent before it is sent more."""
    keeps: bool
    """Whether it stays open after this reply."""

    def write(self, data: bytes) -> None:
        """Send some bytes, if the caller is there."""
        ...

    async def drained(self) -> None:
        """Return once the caller has taken enough to be sent more, or has gone."""
        ...

    def hold(self) -> None:
        """Leave what comes in the socket."""
        ...

    def go_on(self) -> None:
        """Read again."""
        ...

    def answered(self) -> None:
        """Go over from a whole reply to the next request."""
        ...

    def close(self) -> None:
        """Close once what was written is taken."""
        ...


class Incoming:
    """A body whose end has not come yet."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pieces: list[bytes] = []
        self._held = 0
        self._most = UNREAD_BYTES
        self._ended = self._lost = False
        self.unwanted = False
        """Whether its request is answered without it."""
        self._reader: asyncio.Future[None] | None = None

    def arrived(self, piece: bytes) -> None:
        """Take a piece of it from the connection."""
        if self.unwanted:
            return
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > self._most:
            if self._reader is None:
                self._line.hold()
            self._wake()

    def ended(self) -> None:
        """Take its end from the connection."""
        self._ended = True
        self._wake()

    def lost(self) -> None:
        """Hear that the caller has gone."""
        self._lost = True
        self._wake()

    def drop(self) -> None:
        """Want no more of it: its request is answered."""
        self.unwanted = True
        self._pieces.clear()

    async def whole(self, most: int, *, expected: bool) -> bytes:
        """Return all of it; `expected` is whether the caller waits for a word before it sends it.

        Raises `PayloadTooLarge` above `most` bytes, and `Cancelled` where the caller went away before its end.
        """
        self._most = most
        if expected and not self._ended:
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not self._ended and self._held <= most:
            if self._lost:
                raise Cancelled("The caller went away")
            self._reader = asyncio.get_running_loop().create_future()
            self._line.go_on()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._held > most:
            raise PayloadTooLarge(f"A request may have {most} bytes at most", limit=most)
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
