"""How long the stack took to be ready, asked of the gateway's own door."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import structlog

from tausestack_runtime.supervisor.loop import Loop

PAUSE_SECONDS = 0.05
SLOW_AFTER = 1200
"""After so many it is asked once a second: what it waits for, such as its database, may be away for long."""
SLOW_PAUSE_SECONDS = 1.0
REQUEST = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class ReadyProbe:
    """Asks `/health/ready` from the start on, until it first answers 200."""

    def __init__(
        self,
        loop: Loop,
        log: structlog.typing.FilteringBoundLogger,
        address: tuple[Any, ...],
        started_at: float,
        ready: Callable[[], None],
    ) -> None:
        """Take the port's own address, when the stack's start began (seconds since the epoch), and what to do then."""
        self._loop = loop
        self._log = log
        self._address = address
        self._started_at = started_at
        self._ready = ready
        self._probes = 0
        self._closed = False
        self._connection: socket.socket | None = None
        self.seconds: float | None = None
        """From the stack's start to its first ready answer."""

    def start(self) -> None:
        """Ask once; the answer, or its lack, decides whether to ask again."""
        self._probes += 1
        if self.seconds is not None or self._closed:
            return
        family = socket.AF_INET6 if len(self._address) == 4 else socket.AF_INET
        connection = self._connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.connect(self._address)  # our own listening socket: the kernel answers at once
            connection.sendall(REQUEST)
        except OSError:
            self._drop()
            return
        connection.setblocking(False)
        self._loop.watch(connection, self._answered)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._loop.unwatch(self._connection)
            self._connection.close()
            self._connection = None

    def _answered(self) -> None:
        assert self._connection is not None
        try:
            status = self._connection.recv(64).split(b" ")[1:2]
        except OSError:
            status = []
        self._drop()
        if status == [b"200"]:
            self.seconds = time.time() - self._started_at
            self._log.info("stack is ready", seconds=round(self.seconds, 3))
            self._ready()
        else:
            self._loop.after(PAUSE_SECONDS if self._probes < SLOW_AFTER else SLOW_PAUSE_SECONDS, self.start)
