"""The generator: callers over raw sockets, each waiting for its reply before it asks again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import httptools

Ask = Callable[[int], bytes]
"""Returns the bytes of the request with a number."""
Check = Callable[[int, int, bytes], bool]
"""Whether the status and body of a reply are right for the request with a number."""

PATIENCE_SECONDS = 30.0


class WrongReply(Exception):
    """A reply that is not the one that was asked for."""


@dataclass(slots=True)
class Window:
    """One measured window: each call's latency in seconds, and how long it all took."""

    latencies: list[float] = field(default_factory=list[float])
    seconds: float = 0.0


class Caller(asyncio.Protocol):
    """One connection that asks one thing at a time."""

    def __init__(self, ask: Ask, check: Check, numbers: Iterator[int], window: Window) -> None:
        self._ask, self._check, self._numbers, self._window = ask, check, numbers, window
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._number = 0
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def start(self) -> None:
        """Ask the next thing, or be done where there is none."""
        assert self._transport is not None
        number = next(self._numbers, None)
        if number is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._number = number
        self._body = []
        request = self._ask(number)
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(WrongReply(f"the connection ended in the middle of request {self._number}: {exc}"))

    # httptools callbacks

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._window.latencies.append(time.perf_counter() - self._began)
        status, body = self._parser.get_status_code(), b"".join(self._body)
        if self._check(self._number, status, body):
            self.start()
        elif not self.done.done():
            self.done.set_exception(WrongReply(f"request {self._number}: HTTP {status} {body[:500]!r}"))


async def generate(port: int, ask: Ask, check: Check, *, concurrent: int, numbers: range, most: float) -> Window:
    """Ask for each number from so many connections at once, for `most` seconds at the longest.

    Raises `WrongReply` for the first reply that is not right, `TimeoutError` for one that does not come.
    """
    loop = asyncio.get_running_loop()
    window = Window()
    until = loop.time() + most
    shared = _until(iter(numbers), until, loop)
    callers: list[Caller] = []
    for _ in range(concurrent):
        _, caller = await loop.create_connection(lambda: Caller(ask, check, shared, window), "127.0.0.1", port)
        callers.append(caller)
    began = time.perf_counter()
    for caller in callers:
        caller.start()
    async with asyncio.timeout(most + PATIENCE_SECONDS):
        await asyncio.gather(*(caller.done for caller in callers))
    window.seconds = time.perf_counter() - began
    return window


def _until(numbers: Iterator[int], until: float, loop: asyncio.AbstractEventLoop) -> Iterator[int]:
    for number in numbers:
        if loop.time() >= until:
            return
        yield number
