"""A connection that waits for nobody forever."""

from __future__ import annotations

import asyncio

LEAST_TAKEN = 16 * 1024
"""How many bytes of what waits for it a caller takes within `write_seconds`."""

ENDING_SECONDS = 2.0
"""How long a server that ends still waits for a request that is on its way, or is the first of its connection."""


class Patient(asyncio.Protocol):
    """Closes a connection whose request does not come: its head within `head_seconds`, its body within `body_seconds`.

    A caller that does not take its answer within `write_seconds` is left. None of this needs a credential, so without
    it one caller could hold every descriptor or all of the memory.
    """

    head_seconds = 10.0
    body_seconds = 60.0
    write_seconds = 30.0
    rest_seconds = 75.0

    transport: asyncio.Transport
    blocked: bool
    """Whether the caller has to take what it was sent before it is sent more."""
    owing = False
    """Whether an answer is owed to the caller."""

    _in_body = False
    _until: float | None = None
    """When what is awaited is late, in seconds of the loop's clock; None while nobody has to send anything."""
    _resting = False
    """Whether it is the next request that is awaited, of which nothing has come."""
    _untaken: tuple[int, float] | None = None
    """How many bytes of an answer waited, and until when fewer have to; None while nothing has to be taken."""
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.blocked = False

    def pause_writing(self) -> None:
        """Have nothing more written."""
        self.blocked = True

    def resume_writing(self) -> None:
        """Wait for nothing: the caller takes what it is sent."""
        self.blocked = False
        self._untaken = None

    def _await_head(self) -> None:
        """Wait for the rest of a head, where it is not awaited already."""
        if not self._in_body and (self._until is None or self._resting):
            self._resting, self._until = False, self._loop.time() + self.head_seconds

    def _await_body(self) -> None:
        """Wait for the rest of a request whose head is there."""
        self._in_body, self._until = True, self._loop.time() + self.body_seconds

    def _await_nothing(self) -> None:
        """Wait for nothing: a whole request is there."""
        self._in_body = self._resting = False
        self._until = None

    def _rest(self) -> None:
        """Wait for the next request, where nothing of it is awaited already."""
        if self._until is None:
            self._resting, self._until = True, self._loop.time() + self.rest_seconds

    def _await_no_longer(self) -> None:
        """Wait for no other request, and for one that is on its way only a little: the server ends."""
        if self._resting:
            self.transport.close()
        elif self._timer is not None and self._until is not None:
            self._timer.cancel()
            self._until = min(self._until, self._loop.time() + ENDING_SECONDS)
            self._look()

    def _look(self) -> None:
        """Close the connection if what is awaited is late, else look again: a timer for each request costs more."""
        now = self._loop.time()
        if self._until is not None and self._until <= now:
            self._until = None
            if self._in_body or not self.owing:
                self.transport.close()
        if self._is_left_untaken(now):
            self.transport.abort()  # closing would wait for the caller to take what is left
            return
        soon = now + min(self.head_seconds, self.body_seconds, self.write_seconds)
        self._timer = self._loop.call_at(soon if self._until is None else min(soon, self._until), self._look)

    def _is_left_untaken(self, now: float) -> bool:
        """Whether an answer waits for a caller that has taken next to nothing of it for too long."""
        if not self.blocked and not self.transport.is_closing():
            self._untaken = None
            return False
        left = self.transport.get_write_buffer_size()
        if self._untaken is None or left <= self._untaken[0] - LEAST_TAKEN:
            self._untaken = (left, now + self.write_seconds)
        return left > 0 and self._untaken[1] <= now
