"""A caller's connection: requests become exchanges, which are answered one after the other."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from tausestack.wire.heads import END, Heads
from tausestack_runtime.gateway.crowd import Crowd, Member
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.http.line import Incoming
from tausestack_runtime.gateway.http.patience import Patient
from tausestack_runtime.gateway.http.reader import (
    MOST_HEADERS,
    MOST_SMALL_PIECES,
    SMALL_PIECE,
    Reader,
    TooManyHeaders,
    TooManyPieces,
    UnknownVersion,
)

MAX_PIPELINED = 16
"""How many requests may wait behind the one that is answered; parsed they take a hundred times what was sent."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n"


def _last(status: bytes, text: str) -> bytes:
    """Return a reply to what can't be read, which ends its connection."""
    said = text.encode()
    about = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(said)
    return b"HTTP/1.1 %b\r\n%b%b" % (status, about, said)


_LARGE = b"431 Request Header Fields Too Large"
_TOO_LARGE = _last(_LARGE, "A request's head may have 64 KiB, and as much what stands between the pieces of its body.")
_REFUSED: dict[type[BaseException | None], bytes] = {
    UnknownVersion: _last(b"505 HTTP Version Not Supported", "HTTP/1.1 is spoken here."),
    TooManyHeaders: _last(_LARGE, f"A request may have {MOST_HEADERS} headers."),
    TooManyPieces: _last(
        b"400 Bad Request",
        f"A body may come in {MOST_SMALL_PIECES} chunks of fewer than {SMALL_PIECE} bytes: send larger ones.",
    ),
}


class Door(Protocol):
    """What answers exchanges, each to its end."""

    crowd: Crowd | None
    """Those that are counted, where they are."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one."""
        ...


class Connection(Patient):
    """HTTP/1.1 with bounds.

    A head of more than `head_bytes`, and what one read brings beside them, is refused, and so is as much between and
    after the pieces of a body. A caller that sends many requests ahead is left. A connection whose request has not come
    gives way to another where the room is full; those of our own processes, over Unix sockets, are not counted.
    """

    head_bytes = 64 * 1024

    among: dict[Member, None] | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        lost: Callable[[], None] | None = None,
        **_: object,
    ) -> None:
        """Take what a uvicorn server gives its protocols, its application being a `Door`; `lost` is told of the end."""
        super().__init__(asyncio.get_running_loop())
        self._door = cast("Door", config.app)
        self._others, self._tasks = server_state.connections, server_state.tasks
        self.rest_seconds = float(config.timeout_keep_alive)
        self._told = lost
        self._crowd: Crowd | None = None
        self._reader = Reader(self)
        self._heads = Heads[Head]()
        self._written = b""
        """What may be the whole of the head that is read."""
        self._taken = 0
        """How many bytes came since the last that were of use."""
        self._receiving: Incoming | None = None
        self._answering: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._freed: asyncio.Future[None] | None = None
        self._held = False
        self.keeps = True
        self.gone = False
        self.inside = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        self.transport = cast("asyncio.Transport", transport)
        self._others.add(self)  # pyright: ignore[reportArgumentType] uvicorn's own kinds, of which it asks the same
        own = transport.get_extra_info("socket")
        self.inside = own is not None and own.family == socket.AF_UNIX
        if not self.inside:
            self._crowd = self._door.crowd
        if self._crowd is not None and not self._crowd.enter(self):
            self.transport.write(_FULL)
            self.transport.close()
            return
        self._await_head()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more, and tell whoever works for the caller."""
        self.gone = True
        self._others.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._crowd is not None:
            self._crowd.leave(self)
        self._waiting.clear()
        self._free()
        if self._receiving is not None:
            self._receiving.lost()
        if self._answering is not None:
            self._answering.lost()
        if self._told is not None:
            self._told()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request, or all of it."""
        if self._answering is None and self._reader.between:
            end = data.find(END) + len(END)
            self._written = data[:end]
            head = self._heads.known(self._written)
            if head is not None and len(data) - end == (head.length or 0):
                self._await_nothing()
                self._start(Exchange(head, self, data[end:]))
                if self._crowd is not None:
                    self._crowd.requested(self)
                return
        self._read(data)

    def resume_writing(self) -> None:
        """Let those write that waited for it."""
        super().resume_writing()
        self._free()

    # What the reader says

    def begun(self, head: Head) -> None:
        """Go over from the head to the body."""
        if len(self._waiting) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")  # which stops the parser
        self._taken = 0
        self._await_body()
        if self._written and head.plain:
            self._heads.keep(self._written, len(head.raw_headers), head)
        self._written = b""
        self._receiving = Incoming(self)
        exchange = Exchange(head, self, self._receiving)
        if self._answering is None:
            self._start(exchange)
        else:
            self._waiting.append(exchange)
            self.hold()  # what has come is answered first

    def arrived(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._taken = 0
        if self._receiving is not None:
            self._receiving.arrived(piece)

    def completed(self) -> None:
        """Go over from the body to the next head, which nobody has to send."""
        self._taken = 0
        self._await_nothing()
        incoming, self._receiving = self._receiving, None
        assert incoming is not None
        incoming.ended()
        if incoming.unwanted:
            self._rest()
        elif self._crowd is not None:
            self._crowd.requested(self)

    # What an exchange needs

    def write(self, data: bytes) -> None:
        """Send some bytes to the caller, if it is there."""
        if not self.gone:
            self.transport.write(data)

    async def drained(self) -> None:
        """Return once the caller has taken enough to be sent more, or has gone."""
        while self.blocked and not self.gone:
            if self._freed is None:
                self._freed = self._loop.create_future()
            await asyncio.shield(self._freed)

    def hold(self) -> None:
        """Leave what comes in the socket."""
        if not self._held and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._held and not self.transport.is_closing():
            self._held = False
            self.transport.resume_reading()

    def answered(self) -> None:
        """Go over from a whole reply to the next request, where none is there already."""
        self._answering, self.owing = None, False
        if self._crowd is not None and not self._waiting:
            self._crowd.answered(self)
        if not self.keeps:
            self.transport.close()
        if self.transport.is_closing():
            return
        self.go_on()
        if not self._waiting:
            self._rest()
            return
        self._start(self._waiting.popleft())
        if self._waiting:
            self.hold()

    def close(self) -> None:
        """Close the connection once what was written is taken."""
        self.transport.close()

    # What others want of it

    def give_way(self) -> None:
        """Close, since another needs the room."""
        self.transport.close()

    def shutdown(self) -> None:
        """Close once what was begun is answered: a request under way, and the first, whose sender knows of no end."""
        self.keeps = False
        if self._answering is None:
            self._await_no_longer()

    def _start(self, exchange: Exchange) -> None:
        self._answering, self.owing = exchange, True
        self.keeps = self.keeps and exchange.head.keeps
        exchange.task = task = self._loop.create_task(self._answer(exchange))
        self._tasks.add(task)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._door(exchange)
        finally:
            exchange.close()
            assert exchange.task is not None
            self._tasks.discard(exchange.task)

    def _read(self, data: bytes) -> None:
        self._taken += len(data)
        self._await_head()
        try:
            self._reader.feed(data)
        except httptools.HttpParserUpgrade:
            return  # it is answered as if it had not asked for that
        except httptools.HttpParserError as error:
            known = _REFUSED.get(type(error.__context__))
            self._refuse(known or _last(b"400 Bad Request", f"This can't be read as a request: {error}"))
        if self._taken > self.head_bytes and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _refuse(self, told: bytes) -> None:
        """Refuse what is no request, or no body of one; where an answer has begun there is no place to say so."""
        answering = self._answering
        own = self._receiving is not None and not self._waiting  # what is read is of the request that is answered
        if answering is None or (own and not (answering.replied or answering.streaming)):
            self.transport.write(told)
            self.gone = True  # whoever waits for the body says nothing more
            self.transport.close()
        else:
            self.transport.abort()

    def _free(self) -> None:
        if self._freed is not None:
            if not self._freed.done():
                self._freed.set_result(None)
            self._freed = None
