"""A reply as it arrives, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

BODILESS = frozenset({204, 304})
"""The statuses whose replies have no body, whatever their headers say."""
PAUSE_BYTES = 256 * 1024
"""How much of a body waits in memory for a slow reader before the socket is left to fill."""


class WireError(Exception):
    """An exchange that did not end with a whole reply."""


class NotSent(WireError):
    """The server has not read the request: it is always safe to send again."""


class Broken(WireError):
    """The connection ended in the middle of a call: it may have run."""


class TimedOut(WireError):
    """The deadline passed after the request was sent: it may have run."""


class TooLarge(WireError):
    """The reply is larger than the caller takes."""


class Stream(Protocol):
    """The connection that a reply arrives on, as far as the reply knows it."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abandon(self) -> None: ...


class Reply:
    """The reply to one request: its head at once, its body as it comes.

    `headers` has lower-case names; a repeated header's values are joined by commas.
    """

    __slots__ = ("_arrived", "_buffered", "_done", "_error", "_max_body", "_stream", "_waiter", "headers", "status")

    def __init__(
        self, status: int, headers: dict[bytes, bytes], max_body: int, stream: Stream, whole: bytes | None = None
    ) -> None:
        """`whole` is all of the body, where that came with the head."""
        self.status = status
        self.headers = headers
        self._max_body = max_body
        self._stream = stream
        self._arrived: list[bytes] = [whole] if whole else []
        self._done = whole is not None
        self._buffered = 0
        self._error: WireError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def open_ended(self) -> bool:
        """Whether nothing but the end of its connection says where its body ends: it may have been cut."""
        framed = self.status in BODILESS or b"content-length" in self.headers or b"transfer-encoding" in self.headers
        return not framed

    def ready(self) -> bytes | None:
        """Return the whole body where it is there in one piece, as most are, or raise `TooLarge`; else None."""
        if not self._done or self._error is not None or len(self._arrived) != 1:
            return None
        body = self._arrived.pop()
        if len(body) > self._max_body:
            raise TooLarge(f"the reply is larger than {self._max_body} bytes")
        return body

    async def read(self) -> bytes:
        """Return the whole body.

        Raises `TooLarge`, `Broken` or `TimedOut`; a cancelled read closes the connection.
        """
        whole = self.ready()
        if whole is not None:
            return whole
        parts: list[bytes] = []
        size = 0
        try:
            if int(self.headers.get(b"content-length", b"0")) > self._max_body:
                raise TooLarge(f"the reply is larger than {self._max_body} bytes")
            while (chunk := await self._next()) is not None:
                size += len(chunk)
                if size > self._max_body:
                    raise TooLarge(f"the reply is larger than {self._max_body} bytes")
                parts.append(chunk)
        except BaseException:
            self._abandon()
            raise
        return b"".join(parts)

    def unread(self, body: bytes) -> Reply:
        """Return a reply whose whole body was read, to be read by somebody else."""
        return Reply(self.status, self.headers, self._max_body, self._stream, body)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the body's bytes as they arrive, without a limit on their sum.

        Raises `Broken` or `TimedOut`; leaving it early closes the connection.
        """
        try:
            while (chunk := await self._next()) is not None:
                yield chunk
        finally:
            self._abandon()

    async def aclose(self) -> None:
        """Close the connection where the reply is unfinished, which cancels the call at its server."""
        self._abandon()

    def arrived(self, chunk: bytes) -> None:
        """Take a piece of the body from the connection."""
        self._arrived.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > PAUSE_BYTES:
            self._stream.pause()
        self._wake()

    def ended(self, error: WireError | None) -> None:
        """Take the end of the body, or what broke it, from the connection."""
        if self._done:
            return
        self._done = True
        self._error = error
        self._wake()

    async def _next(self) -> bytes | None:
        while not self._arrived:
            if self._error is not None:
                raise self._error
            if self._done:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        # All that is there, as one: a body in pieces of a byte would cost a turn of every reader's for each.
        chunk = self._arrived[0] if len(self._arrived) == 1 else b"".join(self._arrived)
        self._arrived.clear()
        self._buffered = 0
        if not self._done:
            self._stream.resume()
        return chunk

    def _abandon(self) -> None:
        if not self._done:
            self._stream.abandon()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
