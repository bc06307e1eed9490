"""What was sent on the streams of earlier sessions, for clients that come back for the rest."""

from __future__ import annotations

from collections import deque

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCMessage

KEPT = 10_000


class Events(EventStore):
    """The latest events of all streams, by number."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, str, JSONRPCMessage | None]] = deque(maxlen=KEPT)
        self._last = 0

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keep an event (None: one that only opens a stream) and return its id."""
        self._last += 1
        self._events.append((self._last, stream_id, message))
        return str(self._last)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send what came after an event on its stream, and return the stream; None where it is not known."""
        if not last_event_id.isdecimal():
            return None
        after = int(last_event_id)
        streams = [stream for number, stream, _ in self._events if number == after]
        if not streams:
            return None
        for number, stream, message in list(self._events):
            if stream == streams[0] and number > after and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return streams[0]
