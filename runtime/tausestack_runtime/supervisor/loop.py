"""The supervisor's one thread: sockets that became readable, and timers that are due."""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import time
from collections.abc import Callable

Action = Callable[[], object]


class Loop:
    """Calls what was asked for when a socket is readable or a time has come."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def watch(self, source: socket.socket, action: Action) -> None:
        """Call an action whenever a socket is readable, until `unwatch`."""
        self._selector.register(source, selectors.EVENT_READ, action)

    def unwatch(self, source: socket.socket) -> None:
        """Watch a socket no more; one that is not watched is left as it is."""
        if source.fileno() >= 0 and source in self._selector.get_map():
            self._selector.unregister(source)

    def after(self, seconds: float, action: Action) -> None:
        """Call an action once, some seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action))

    def turn(self, most: float | None = None) -> None:
        """Wait until something happens, at most some seconds, and act on it."""
        waits = [wait for wait in (most, self._until_timer()) if wait is not None]
        for key, _events in self._selector.select(min(waits) if waits else None):
            if self._selector.get_map().get(key.fd) is key:  # an earlier action of this turn may have ended the watch
                key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def turn_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Turn until something is so, and return whether it is; at most some seconds."""
        deadline = time.monotonic() + seconds
        while not done() and (left := deadline - time.monotonic()) > 0:
            self.turn(left)
        return done()

    def close(self) -> None:
        """Release the selector."""
        self._selector.close()

    def _until_timer(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
