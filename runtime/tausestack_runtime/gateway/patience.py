"""HTTP/1.1 that waits for nobody forever: uvicorn's protocol with bounds on how long and how large a head may be."""

from __future__ import annotations

import asyncio

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from tausestack_runtime.asgi import DEPARTURE, REPLY, Told
from tausestack_runtime.gateway.crowd import Connection, Crowd

MAX_PIPELINED = 16
"""How many requests may wait behind the one that is answered; parsed they take a hundred times what was sent."""
ENDING_SECONDS = 2.0
"""How long a gateway that ends still waits for a request of which nothing has come on a connection just made."""
LEAST_TAKEN = 16 * 1024
"""How many bytes of what waits for it a caller takes within `write_seconds`."""

CROWD = "crowd"
"""Where the application's state holds the crowd that its connections belong to; without one they are not counted."""

_WHOLE = b"%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"  # no body to read
)


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request does not come: its head within `head_seconds`, its body within `body_seconds`.

    A head of more than `head_bytes`, and what one read brings beside them, is refused, and so is as much between and
    after the pieces of a body: what comes there is dropped, since a header that comes last is none. A caller that does
    not take its answer within `write_seconds` is left, and so is one that sends many requests ahead. None of this needs
    a credential, so without it one caller could hold every descriptor or all of the memory. For the same reason a
    connection whose request has not come gives way to another where the room is full; those of our own processes are
    not counted.
    """

    head_seconds = 10.0
    body_seconds = 60.0
    write_seconds = 30.0
    head_bytes = 64 * 1024

    _in_body = False
    _ending = False
    """Whether the next answer is the last, since the gateway ends."""
    _taken = 0
    _until: float | None = None
    """When what is awaited is late, in seconds of the loop's clock; None while nobody has to send anything."""
    _resting = False
    """Whether it is the next request that is awaited, of which nothing has come."""
    _untaken: tuple[int, float] | None = None
    """How many bytes of an answer waited, and until when fewer have to; None while nothing has to be taken."""
    _timer: asyncio.TimerHandle | None = None
    _crowd: Crowd | None = None
    among: dict[Connection, None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wait for the first head."""
        super().connection_made(transport)
        self._departure = Told()
        self._own: dict[str, object] = {DEPARTURE: self._departure, REPLY: self._reply}
        if self.client is not None:
            self._crowd = self.app_state.get(CROWD)
        if self._crowd is not None and not self._crowd.enter(self):
            transport.write(_FULL)
            transport.close()
            return
        self._until = self.loop.time() + self.head_seconds
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more, and tell whoever works for the caller."""
        if self._timer is not None:
            self._timer.cancel()
        if self._crowd is not None:
            self._crowd.leave(self)
        super().connection_lost(exc)
        self._departure.tell()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request."""
        self._taken += len(data)
        if not self._in_body and (self._until is None or self._resting):
            self._resting, self._until = False, self.loop.time() + self.head_seconds
        super().data_received(data)
        if self._taken > self.head_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and no trailer: that would pass by whoever looked at the head before."""
        if not self._in_body:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._taken = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Go over from the head to the body."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")  # which stops the parser
        self._in_body, self._taken = True, 0
        self._until = self.loop.time() + self.body_seconds
        super().on_headers_complete()
        if self._ending:
            self.cycle.keep_alive = False
        self.scope["extensions"] = self._own  # pyright: ignore[reportGeneralTypeIssues] the task that reads it has not run yet

    def on_message_complete(self) -> None:
        """Go over from the body to the next head, which nobody has to send."""
        self._in_body, self._taken = False, 0
        self._until = None
        if self.cycle.response_complete:
            self._rest()
        if self._crowd is not None and not self.cycle.response_complete:
            self._crowd.requested(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go over from the reply to the next request, where none is there already."""
        if self._crowd is not None and not self.pipeline:
            self._crowd.answered(self)
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if not self.pipeline:
            self._rest()
            return
        self._start_asgi_task(*self.pipeline.pop())
        if self.pipeline:
            self.flow.pause_reading()  # what has come is answered first

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _reply(self, status: int, content_type: bytes, body: bytes) -> bool:
        """Write the whole of the usual reply at once: message by message it takes three times as long."""
        cycle = self._answering
        if cycle.disconnected or cycle.response_started or not cycle.keep_alive or self.flow.write_paused:
            return False
        if cycle.scope["method"] == "HEAD":
            return False
        self.transport.write(_WHOLE % (STATUS_LINE[status], content_type, len(body), body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True

    def resume_writing(self) -> None:
        """Wait for nothing: the caller takes what it is sent."""
        self._untaken = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; in the middle of another's answer there is no place to say so."""
        if self.cycle is None or self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """Close once what was begun is answered: a request under way, and the first, whose sender knows of no end."""
        self._ending = True
        if self._resting:
            self.transport.close()
            return
        if self.cycle is not None:  # pyright: ignore[reportUnnecessaryComparison] None until the first request
            self.cycle.keep_alive = False
            return
        if self._timer is not None and self._until is not None:
            self._timer.cancel()
            self._until = min(self._until, self.loop.time() + ENDING_SECONDS)
            self._look()

    def give_way(self) -> None:
        """Close, since another needs the room."""
        self.transport.close()

    def _rest(self) -> None:
        """Wait for the next request, where nothing of it is awaited already."""
        if self._until is None:
            self._resting, self._until = True, self.loop.time() + self.timeout_keep_alive

    def _look(self) -> None:
        """Close the connection if what is awaited is late, else look again: a timer for each request costs more."""
        now = self.loop.time()
        if self._until is not None and self._until <= now:
            self._late()
        if self._is_left_untaken(now):
            self.transport.abort()  # closing would wait for the caller to take what is left
            return
        soon = now + min(self.head_seconds, self.body_seconds, self.write_seconds)
        self._timer = self.loop.call_at(soon if self._until is None else min(soon, self._until), self._look)

    def _is_left_untaken(self, now: float) -> bool:
        """Whether an answer waits for a caller that has taken next to nothing of it for too long."""
        if not self.flow.write_paused and not self.transport.is_closing():
            self._untaken = None
            return False
        left = self.transport.get_write_buffer_size()
        if self._untaken is None or left <= self._untaken[0] - LEAST_TAKEN:
            self._untaken = (left, now + self.write_seconds)
        return left > 0 and self._untaken[1] <= now

    def _late(self) -> None:
        self._until = None
        begun = self.cycle is not None  # pyright: ignore[reportUnnecessaryComparison] None until the first request
        if self._in_body or not begun or self.cycle.response_complete:
            self.transport.close()
