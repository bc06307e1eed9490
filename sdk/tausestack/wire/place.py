"""Where a pool connects."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Protocol

from tausestack.wire.connection import Connection
from tausestack.wire.reply import NotSent

BACKLOG_PAUSE_SECONDS = 0.005
BACKLOG_PAUSE_MOST_SECONDS = 0.1

OnIdle = Callable[[Connection], None]


class Place(Protocol):
    """What a pool has to know of its server."""

    host: bytes | None
    """The `Host` header of every request; None: the caller's, or else `localhost`."""

    async def connect(self, on_idle: OnIdle, deadline: float) -> Connection:
        """Return a new connection, or raise `NotSent`."""
        ...


class UnixPlace:
    """A Unix socket."""

    host: bytes | None = None

    def __init__(self, path: str) -> None:
        self._path = path

    async def connect(self, on_idle: OnIdle, deadline: float) -> Connection:
        """Connect, waiting for a full backlog until the deadline."""
        loop = asyncio.get_running_loop()
        pause = BACKLOG_PAUSE_SECONDS
        while True:
            raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                raw.setblocking(False)
                # Not by the loop: a full backlog is an error of its own on each, and on a Unix socket this is at once.
                raw.connect(self._path)
                made = functools.partial(Connection, raw, on_idle)
                _, connection = await loop.create_unix_connection(made, sock=raw)
            except BlockingIOError as error:
                raw.close()
                if loop.time() + pause >= deadline:
                    raise NotSent("the server's backlog is full") from error
            except OSError as error:
                raw.close()
                raise NotSent("the server takes no connections") from error
            except BaseException:
                raw.close()
                raise
            else:
                return connection
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKLOG_PAUSE_MOST_SECONDS)
