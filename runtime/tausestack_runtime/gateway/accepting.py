"""Taking connections from listening sockets that several gateways share: whoever has the fewest takes the next."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from uvicorn import Config, Server

from tausestack_runtime.board import Board
from tausestack_runtime.gateway.http.connection import Connection

AHEAD = 1
"""How many connections more than another gateway one may have and still take the next at once."""
POLITE_SECONDS = 0.001
"""How long one that has more leaves the next to the others, before it takes some itself."""
POLITE_BATCH = 4
OUT_OF_FILES_SECONDS = 0.1
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = structlog.get_logger("gateway")

Made = Callable[[Callable[[], None]], asyncio.Protocol]
"""Makes the protocol of one connection, given what to call when that is lost."""


class Acceptor:
    """Takes connections from one gateway's copies of the shared sockets, and keeps its row of the board.

    The sockets stay the supervisor's: what waits in them when a gateway dies is taken by another.
    """

    def __init__(self, board: Board, number: int, shared: Sequence[socket.socket], make: Made) -> None:
        self._board = board
        self._number = number
        self._others = [other for other in board.numbers if other != number]
        self._shared = shared
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._connections = 0

    def start(self) -> None:
        """Begin to take connections."""
        self._board.connected(self._number, 0)
        for listener in self._shared:
            listener.setblocking(False)
            self._loop.add_reader(listener, self._ready, listener)

    async def close(self) -> None:
        """Take no more, and return once those that were taken are open; they stay."""
        self._board.leave(self._number)
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        for listener in self._shared:
            self._loop.remove_reader(listener)
            listener.close()
        self._shared = ()
        await asyncio.gather(*self._opening)

    def _ready(self, listener: socket.socket) -> None:
        while self._is_my_turn():
            if not self._take(listener):
                return
        self._pause(listener, POLITE_SECONDS)

    def _is_my_turn(self) -> bool:
        limit = self._connections - AHEAD
        return all((theirs := self._board.connections(other)) is None or theirs >= limit for other in self._others)

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listener)
        self._waiting[listener] = self._loop.call_later(seconds, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        """What the others have not taken meanwhile is not left to wait for them: they may be stuck."""
        del self._waiting[listener]
        for _ in range(POLITE_BATCH):
            if not self._take(listener):
                break
        if listener not in self._waiting:
            self._loop.add_reader(listener, self._ready, listener)

    def _take(self, listener: socket.socket) -> bool:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            logger.warning("connections wait for others to end", reason=error.strerror)
            self._pause(listener, OUT_OF_FILES_SECONDS)
            return False
        connection.setblocking(False)
        self._count(1)
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        return True

    async def _open(self, connection: socket.socket) -> None:
        made = self._make(lambda: self._count(-1))
        try:
            await self._loop.connect_accepted_socket(lambda: made, connection)
        except OSError as error:  # it was gone before it was served
            logger.debug("a connection was lost at once", reason=error.strerror)
            connection.close()
            self._count(-1)

    def _count(self, change: int) -> None:
        self._connections += change
        if self._shared:
            self._board.connected(self._number, self._connections)


class Served(Protocol):
    """An application that a server opens, and closes at its end."""

    async def start(self) -> None:
        """Open what it needs."""
        ...

    def leave(self) -> None:
        """Have what stays open end."""
        ...

    async def aclose(self) -> None:
        """Close everything."""
        ...


class GatewayServer(Server):
    """A uvicorn server that shares sockets with other gateways, beside those that are its own."""

    def __init__(
        self, config: Config, board: Board, number: int, shared: Sequence[socket.socket], application: Served
    ) -> None:
        super().__init__(config)
        self._application = application
        self._board, self._number, self._shared_sockets = board, number, shared
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve its own sockets, then take connections from the shared ones."""
        await self._application.start()
        await super().startup(sockets)
        self._acceptor = Acceptor(self._board, self._number, self._shared_sockets, self._connection)
        self._acceptor.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave new connections to the others, then end the open ones."""
        if self._acceptor is not None:
            await self._acceptor.close()
        self._application.leave()
        await super().shutdown(sockets)
        await self._application.aclose()

    def _connection(self, lost: Callable[[], None]) -> asyncio.Protocol:
        return Connection(self.config, self.server_state, lost=lost)
