"""Pooled HTTP/1.1 to one server, wherever it is."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from tausestack.wire.connection import Connection
from tausestack.wire.place import Place
from tausestack.wire.reply import Broken, NotSent, Reply
from tausestack.wire.request import Headers, request_bytes

MAX_BODY_BYTES = 16 * 1024 * 1024
IDLE_SECONDS = 60.0


class Pool:
    """Connections to one server, kept open between calls.

    At most `max_connections` calls are under way; others wait their turn. A connection that nobody used for
    `max_idle_seconds` is closed, which has to be less than the server's own patience.
    """

    def __init__(self, where: Place, *, max_connections: int = 64, max_idle_seconds: float = IDLE_SECONDS) -> None:
        self._where = where
        self._max_idle = max_idle_seconds
        self._places = max_connections
        """How many more exchanges there may be."""
        self._turns: deque[asyncio.Future[None]] = deque()
        """Those that wait for a place, in turn."""
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._begun: list[Connection] = []
        """Those whose requests are about to be written, all in a row."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def empty(self) -> bool:
        """Whether it holds no connection."""
        return not self._all

    async def request(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        *,
        deadline: float,
        max_body: int = MAX_BODY_BYTES,
    ) -> Reply:
        """Make a request and send it, as `send` does; raises `ValueError` for a malformed one."""
        request = request_bytes(method, target, headers, body, self._where.host)
        return await self.send(request, deadline, max_body)

    async def send(self, request: bytes, deadline: float, max_body: int = MAX_BODY_BYTES) -> Reply:
        """Send a request, as `framed` made it, and return its reply as soon as its head is there.

        `deadline` is a time of the running loop and holds for the whole exchange, the body too. Cancelling the task
        closes the connection. Raises `NotSent`, `Broken`, `TimedOut`, `TooLarge`, and `Forbidden` for an origin that
        may not be reached.
        """
        if self._closed:
            raise NotSent("the pool is closed")
        if deadline <= time.monotonic():
            raise NotSent("the deadline has passed already")
        if self._places:
            self._places -= 1
        else:
            await self._turn(deadline)
        try:
            connection = self._reusable() or await self._connected(deadline)
        except BaseException:
            self._leave_place()
            raise
        connection.placed = True
        head = connection.begin(request, deadline, max_body)
        del request  # nobody keeps it while the server works
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._write)
        self._begun.append(connection)
        try:
            return await head
        except asyncio.CancelledError:
            connection.give_up(head)
            raise
        except NotSent:
            unwritten = connection.unwritten()
            if unwritten is None or not connection.used:
                raise
        # It was closed while it lay idle: the next one, or a new one.
        return await self.send(unwritten, deadline, max_body)

    async def aclose(self) -> None:
        """Close every connection; calls under way end as `Broken`."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        connections = list(self._all)
        for connection in connections:
            connection.abandon(Broken("the pool was closed"))
        for connection in connections:
            await connection.closed

    async def _turn(self, deadline: float) -> None:
        """Wait for a place."""
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave_place()  # it was given one too late
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise NotSent("every connection is busy") from error
            raise

    def _leave_place(self) -> None:
        """Give a place to whoever waits for one."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._places += 1

    def _write(self) -> None:
        """Write what was begun since the loop's last turn."""
        begun, self._begun = self._begun, []
        for connection in begun:
            connection.write()

    def _reusable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
        return None

    async def _connected(self, deadline: float) -> Connection:
        connection = await self._where.connect(self._released, deadline)
        self._all.add(connection)
        if self._closed:
            connection.leave()
            raise NotSent("the pool is closed")
        return connection

    def _released(self, connection: Connection) -> None:
        """Take a connection back whose exchange or life has ended."""
        if connection.placed:
            connection.placed = False
            self._leave_place()
        if not connection.usable() or self._closed:
            if connection.closed.done():
                self._all.discard(connection)
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._max_idle, self._sweep)

    def _sweep(self) -> None:
        """Close what lay idle too long; the list is in order of age."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle and self._idle[0].idle_since + self._max_idle <= loop.time():
            self._idle.pop(0).leave()
        if self._idle:
            self._sweeper = loop.call_at(self._idle[0].idle_since + self._max_idle, self._sweep)
