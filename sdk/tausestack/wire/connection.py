"""One connection to a server, one exchange at a time; this one over a Unix socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from tausestack.wire.encodings import Inflating, inflating
from tausestack.wire.heads import END, Heads
from tausestack.wire.reply import BODILESS, Broken, NotSent, Reply, TimedOut, TooLarge, WireError

MAX_HEAD_BYTES = 64 * 1024

SMALL_PIECE = 64
MOST_SMALL_PIECES = 16_384
"""In how many pieces of fewer bytes a reply may come at once: one of a byte costs as much as one of thousands."""
SMALL_PIECES_A_SECOND = 1000
"""How many more, where it takes long."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the head of a reply says."""

    status: int
    headers: dict[bytes, bytes]
    length: int


class Connection(asyncio.Protocol):
    """A connection of a pool: it is given a request, writes it when it is told to, and makes a reply of the answer.

    Requests are best written many in a row: a server that sleeps is then woken by the first of them and not by each,
    and to wake somebody is the dearest part of writing.
    """

    def __init__(self, raw: socket.socket, on_idle: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._raw = raw
        self._on_idle = on_idle
        # httptools names the type of its callback object loosely: any object with some of the callbacks will do.
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[Reply] | None = None
        self._request: bytes | None = None
        """What is to be written, and nothing of it is yet."""
        self._reply: Reply | None = None
        self._inflating: Inflating | None = None
        self._deadline = self._timer_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        """One for many exchanges, which looks at their deadlines: few are ever reached."""
        self._headers: dict[bytes, bytes] = {}
        self._fields = 0
        self._heads = Heads[Reading]()
        self._written = b""
        """What may be the whole of the head that is read."""
        self._taken = 0
        """How many bytes of a reply have come."""
        self._barren = 0
        """How many have come since the last that were of its body."""
        self._small = 0
        self._since = 0.0
        self._max_body = 0
        self._unread = False
        self._paused = False
        self._left = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.idle_since = 0.0
        self.used = False
        """Whether a request was ever written here."""
        self.reused = False
        """Whether the last request was not the first."""
        self.placed = False
        """Whether its exchange has one of its pool's places."""

    def usable(self) -> bool:
        """Return whether another request may be written here."""
        return self._head is None and not self._left

    def begin(self, request: bytes, deadline: float, max_body: int) -> asyncio.Future[Reply]:
        """Take a request, which `write` writes; the future gives its reply once its head has come."""
        self._request = request
        self._head = head = self._loop.create_future()
        self._reply = None
        self._taken = self._barren = self._small = 0
        self._max_body = max_body
        self._unread = False
        self._deadline = deadline
        if deadline < self._timer_at:
            self._wait_until(deadline)
        return head

    def write(self) -> None:
        """Write the request that was taken, unless the connection has been closed meanwhile."""
        request = self._request
        if request is None or self._left:
            return
        assert self._transport is not None
        self.reused = self.used
        try:
            written = self._write(request)
        except BlockingIOError:
            written = 0
        except OSError:
            self.abandon()
            return
        self._request, self.used = None, True
        if written < len(request):
            self._transport.write(memoryview(request)[written:])

    def unwritten(self) -> bytes | None:
        """Return the request that was taken, where the connection was closed before anything of it was written."""
        return self._request

    def leave(self) -> None:
        """Close an idle connection."""
        self._left = True
        if self._transport is not None:
            self._transport.abort()

    def abandon(self, error: WireError | None = None) -> None:
        """Close the connection in the middle of its exchange."""
        self._left = True
        self._end(error or Broken("the exchange was given up"))
        if self._transport is not None:
            self._transport.abort()

    def give_up(self, head: asyncio.Future[Reply]) -> None:
        """Abandon an exchange that nobody waits for any more, unless it has ended and the connection serves another."""
        if self._head is head:
            self.abandon()
        elif not head.cancelled():
            head.exception()  # seen: what it came to interests nobody

    def pause(self) -> None:
        """Leave what comes in the socket, because nobody reads."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._paused and self._transport is not None and not self.closed.done():
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._head is None or self._request is not None:
            self.leave()  # nobody asked
            return
        if not self._taken:
            end = data.find(END) + len(END)
            self._written = data[:end]
            known = self._heads.known(self._written)
            if known is not None and len(data) - end == known.length:
                assert self._transport is not None
                if not self._transport.get_write_buffer_size():
                    self._whole(known, data[end:])
                    return
        self._taken += len(data)
        self._barren += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            known = error.__context__
            self.abandon(known if isinstance(known, WireError) else Broken(f"the server does not speak HTTP: {error}"))
            return
        if self._barren > MAX_HEAD_BYTES and not self.usable() and not self._left:
            what = "the head of the reply" if self._reply is None else "what stands between pieces of the reply"
            self.abandon(TooLarge(f"{what} is larger than {MAX_HEAD_BYTES} bytes"))

    def eof_received(self) -> None:
        if self._head is None or self._request is not None:
            self._left = True  # nothing is written to who has hung up
        elif self._reply is not None and self._reply.open_ended and self._may_end_replies():
            self._left = True
            self._end(self._cut())
        else:
            self._unread = self._unread_at_end()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._taken == 0 and (self._unread or self._unread_by(exc)):
            self._end(NotSent("the server went away before it had read the request"))
        else:
            self._end(Broken("the server broke off in the middle of the call"))
        if self._timer is not None:
            self._timer.cancel()
        self._left = True
        self.closed.set_result(None)
        self._on_idle(self)

    # What differs by the kind of socket

    def _write(self, request: bytes) -> int:
        """Write what the socket takes of a request at once and return its length, or raise `OSError`."""
        # Past the transport, whose buffer is empty: a closed peer shows at once, while nothing was sent.
        return self._raw.send(request)

    def _unread_at_end(self) -> bool:
        """Whether the server can't have read the whole request before it ended the connection."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size() > 0

    def _unread_by(self, error: Exception | None) -> bool:
        """Whether the server can't have read the whole request before the connection broke with an error."""
        # On a Unix socket a reset means that the request, or the rest of it, was never read.
        return isinstance(error, (ConnectionResetError, BrokenPipeError))

    def _may_end_replies(self) -> bool:
        """Whether a reply that says nothing of its length is whole where the connection ends."""
        return False  # our own processes say how long each is: one that doesn't was cut

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._headers, self._fields = {}, 0
        if self._head is None:
            self.leave()  # more than was asked for: what follows would be taken for the next reply

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reply is not None:
            return  # a trailer
        self._fields += 1
        lowered = name.lower()
        known = self._headers.get(lowered)
        self._headers[lowered] = value if known is None else known + b", " + value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._written = b""
            return
        if self._head is None or self._reply is not None:
            return
        if self._written:
            self._keep(status)
        self._inflating = inflating(self._headers, self._max_body)
        self._reply, self._since = Reply(status, self._headers, self._max_body, self), self._loop.time()
        if not self._head.done():
            self._head.set_result(self._reply)

    def on_body(self, body: bytes) -> None:
        self._barren = 0
        if len(body) < SMALL_PIECE:
            self._small += 1
            if self._small > MOST_SMALL_PIECES and self._is_flooded():
                # To the parser, as what else is wrong with a body.
                raise TooLarge(f"the reply comes in more than {MOST_SMALL_PIECES} pieces of a few bytes")
        if self._reply is not None:
            self._reply.arrived(body if self._inflating is None else self._inflating.inflated(body))

    def on_message_complete(self) -> None:
        if self._reply is None:
            return  # an interim reply
        assert self._transport is not None
        if not self._parser.should_keep_alive() or self._transport.get_write_buffer_size():
            self._left = True
        self._end(self._cut())
        if self._left:
            self._transport.abort()
        else:
            self.resume()
            self._on_idle(self)

    def _keep(self, status: int) -> None:
        """Remember a head that says where its reply ends, and that another may follow."""
        written, self._written = self._written, b""
        length = self._headers.get(b"content-length", b"")
        if (
            length.isdigit()
            and status not in BODILESS
            and b"transfer-encoding" not in self._headers
            and b"content-encoding" not in self._headers
            and b"upgrade" not in self._headers
            and self._parser.should_keep_alive()
        ):
            self._heads.keep(written, self._fields, Reading(status, self._headers, int(length)))

    def _whole(self, known: Reading, body: bytes) -> None:
        """Take a reply that has come whole, and whose head has come before."""
        head, self._head = self._head, None
        assert head is not None
        if not head.done():
            head.set_result(Reply(known.status, known.headers, self._max_body, self, body))
        if self._paused:
            self.resume()
        self._on_idle(self)

    def _cut(self) -> WireError | None:
        """Return what is wrong with a reply that is there whole by its connection, and isn't by its encoding."""
        whole = self._inflating is None or self._inflating.whole()
        return None if whole else Broken("the reply ended before what it compresses had")

    def _is_flooded(self) -> bool:
        """Whether more small pieces have come than in so long a time come of themselves."""
        return self._small > MOST_SMALL_PIECES + SMALL_PIECES_A_SECOND * (self._loop.time() - self._since)

    def _wait_until(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        if self._head is None:
            return
        if self._deadline > self._loop.time():
            self._wait_until(self._deadline)
        else:
            self.abandon(TimedOut("the server did not answer in time"))

    def _end(self, error: WireError | None) -> None:
        if self._request is not None and error is not None:
            error = NotSent("the connection was closed before the request was written")
        head, self._head = self._head, None
        if head is None:
            return
        if self._reply is not None:
            self._reply.ended(error)
            self._reply = None
        elif error is not None and not head.done():
            head.set_exception(error)
