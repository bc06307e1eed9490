"""HTTP/1.1 that waits for nobody forever: uvicorn's protocol with bounds on how long and how large a head may be."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tausestack_runtime.gateway.crowd import Connection, Crowd

CROWD = "crowd"
"""Where the application's state holds the crowd that its connections belong to; without one they are not counted."""

_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"  # no body to read
)


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not come: its head within `head_seconds`, its body within `body_seconds`.

    A head of more than `head_bytes`, and what one read brings beside them, is refused. None of this needs a credential,
    so without it one caller could hold every descriptor or all of the memory. For the same reason a connection whose
    request has not come gives way to another where the room is full; those of our own processes are not counted.
    """

    head_seconds = 10.0
    body_seconds = 60.0
    head_bytes = 64 * 1024

    _in_body = False
    _taken = 0
    _patience: asyncio.TimerHandle | None = None
    _crowd: Crowd | None = None
    among: dict[Connection, None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first head."""
        super().connection_made(transport)
        if self.client is not None:
            self._crowd = self.app_state.get(CROWD)
        if self._crowd is not None and not self._crowd.enter(self):
            transport.write(_FULL)
            transport.close()
            return
        self._patience = self.loop.call_later(self.head_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._wait_no_more()
        if self._crowd is not None:
            self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        if not self._in_body:
            self._taken += len(data)
            if self._patience is None:
                self._patience = self.loop.call_later(self.head_seconds, self._head_is_late)
        super().data_received(data)
        if not self._in_body and self._taken > self.head_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Go over from the head to the body."""
        self._wait_no_more()
        self._in_body, self._taken = True, 0
        self._patience = self.loop.call_later(self.body_seconds, self.transport.close)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Go over from the body to the next head, which nobody has to send."""
        self._wait_no_more()
        self._in_body, self._taken = False, 0
        if self._crowd is not None and not self.cycle.response_complete:
            self._crowd.requested(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go over from the reply to the next request, where none is there already."""
        if self._crowd is not None and not self.pipeline:
            self._crowd.answered(self)
        super().on_response_complete()

    def give_way(self) -> None:
        """Close, since another needs the room."""
        self.transport.close()

    def _head_is_late(self) -> None:
        self._patience = None
        begun = self.cycle is not None  # pyright: ignore[reportUnnecessaryComparison] None until the first request
        if not begun or self.cycle.response_complete:
            self.transport.close()

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
