"""JSON-RPC with one server over one link: whose answer is whose, and what comes unasked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from tausestack.errors import METHOD_NOT_FOUND, DeadlineExceeded, Unavailable
from tausestack.raw import as_object
from tausestack_runtime.adapters.asked import Answered, Asked
from tausestack_runtime.adapters.session.flight import Flight, numbered

LISTEN = "subscriptions/listen"
MAX_IN_FLIGHT = 64
MAX_WAITING = 64
"""Calls that wait between two rounds, beside those in flight."""
CHORE_SECONDS = 10.0
"""How long a server may take over what the host asks on its own account."""


class Broken(Exception):
    """The session ended in the middle of a request: it may have taken effect.

    `tool` is the raw definition of the tool that was called, where it was one.
    """

    def __init__(self, why: str, tool: dict[str, Any] | None = None) -> None:
        super().__init__(why)
        self.tool = tool


class Expired(Exception):
    """The server knows the session no more: the request was not served."""


class Receiver(Protocol):
    """Who takes what comes over a link."""

    async def received(self, message: dict[str, Any], origin: int | None) -> None:
        """Take a message, and the number of the request in whose stream it came, where there is one."""
        ...

    def lost(self, number: int, error: Exception) -> None:
        """Take it that a request will get no answer."""
        ...


class Link(Protocol):
    """A way to one server."""

    @property
    def pid(self) -> int | None:
        """The process, where it is one of this machine's."""
        ...

    @property
    def url(self) -> str | None:
        """Where the server is, where it is at a URL."""
        ...

    @property
    def last_words(self) -> str:
        """What the server complained of last, where that is known; whole once the link was stopped."""
        ...

    def attach(self, receiver: Receiver) -> None:
        """Say who takes what the server says."""
        ...

    async def run(self) -> str:
        """Read until the server's end, and return why it came."""
        ...

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message, or raise `Broken`."""
        ...

    def done(self, number: int) -> None:
        """Let go of a request that nobody waits for any more."""
        ...

    async def stop(self) -> str:
        """End the link, and return in what state it ended."""
        ...

    @property
    def killed(self) -> bool:
        """Whether the server ended by being killed from outside; known once the link was stopped."""
        ...


class Peer:
    """The server at the other end of a link."""

    def __init__(self, name: str, link: Link) -> None:
        self.name, self.link = name, link
        self.flights: dict[int, Flight] = {}
        self.touched = asyncio.Event()
        """Set whenever a request begins or ends."""
        self.broken: Broken | None = None
        self.own_meta: dict[str, Any] = {}
        """The `_meta` of what the host asks on its own account."""
        self.on_request: Callable[[str, dict[str, Any], str | int, int | None], Awaitable[None]] = self._refuse
        self.on_notification: Callable[[str, dict[str, Any], int | None], None] = _ignore
        self._numbers = itertools.count(1)
        self._chores: set[asyncio.Task[None]] = set()
        link.attach(self)

    async def begin(
        self, method: str, params: dict[str, Any], asked: Asked | None = None, tool: dict[str, Any] | None = None
    ) -> Flight:
        """Send a request and return its flight, to be followed and in the end `close`d."""
        if self.broken is not None:
            raise Unavailable(f"{self.name} has just stopped")
        calls = [flight for flight in self.flights.values() if flight.attended and flight.method != LISTEN]
        if asked is not None and method != LISTEN and len(calls) >= MAX_IN_FLIGHT:
            raise Unavailable(f"{self.name} has {MAX_IN_FLIGHT} calls in flight already")
        number = next(self._numbers)
        if asked is not None and asked.token is not None:
            params = {**params, "_meta": {**(as_object(params.get("_meta")) or {}), "progressToken": number}}
        flight = Flight(number, method, asked, asyncio.get_running_loop().create_future(), tool)
        self.flights[number] = flight
        self.touched.set()
        try:
            await self.link.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        except BaseException:
            self.close(flight)
            raise
        return flight

    async def call(self, method: str, params: dict[str, Any], seconds: float = CHORE_SECONDS) -> dict[str, Any]:
        """Send a request of the host's own and return its result.

        Raises `Answered` for an error, `Broken` where the session ended first, and `DeadlineExceeded`.
        """
        flight = await self.begin(method, {**params, "_meta": self.own_meta} if self.own_meta else params)
        try:
            # A timeout around a future would cancel it, and the server would not be told.
            if not (await asyncio.wait({flight.answer}, timeout=seconds))[0]:
                await self.cancel(flight, "it took too long")
                raise DeadlineExceeded(f"{self.name} said nothing to {method} within {seconds:.0f} s")
            return flight.answer.result()
        finally:
            self.close(flight)

    async def notify(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Send a notification."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        await self.link.send(message if params is None else {**message, "params": params})

    async def reply(self, number: str | int, outcome: dict[str, Any]) -> None:
        """Answer a request of the server's with `{"result": …}` or `{"error": …}`."""
        with suppress(Broken, Unavailable):  # the reader sees the end itself
            await self.link.send({"jsonrpc": "2.0", "id": number, **outcome})

    async def cancel(self, flight: Flight, why: str) -> None:
        """Tell the server that nobody waits for a request any more, and let go of it."""
        known = self.flights.get(flight.number) is flight
        self.close(flight)
        if known and not flight.done and self.broken is None:
            gone = {"requestId": flight.number, "reason": why}
            with suppress(Broken, Unavailable):
                await self.notify("notifications/cancelled", gone)
            if flight.task is not None:
                self.chore(self._cancel_task(flight.task))

    async def _cancel_task(self, task: str) -> None:
        with suppress(Answered, Broken, DeadlineExceeded, Unavailable):  # one that has just ended can't be cancelled
            await self.call("tasks/cancel", {"taskId": task})

    def close(self, flight: Flight) -> None:
        """Let go of a request."""
        if self.flights.pop(flight.number, None) is not None:
            self.link.done(flight.number)
            self.touched.set()

    def chore(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """Do something in a task of the session's own, which a caller's going away does not end."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def received(self, message: dict[str, Any], origin: int | None) -> None:
        """Take a message of the server's."""
        method, number = message.get("method"), message.get("id")
        params = as_object(message.get("params")) or {}
        if isinstance(method, str):
            if isinstance(number, str) or type(number) is int:
                await self.on_request(method, params, number, origin)
            elif method == "notifications/progress":
                self._progressed(params)
            else:
                self.on_notification(method, params, origin)
            return
        known = numbered(number)
        flight = None if known is None else self.flights.get(known)
        if flight is None:
            return
        result, error = as_object(message.get("result")), as_object(message.get("error"))
        if result is not None:
            flight.end(result)
        else:
            flight.end(Answered(error or {"code": -32603, "message": "neither a result nor an error"}))

    def lost(self, number: int, error: Exception) -> None:
        """Take it that a request will get no answer."""
        flight = self.flights.get(number)
        if flight is not None:
            flight.end(error)

    async def end(self, why: str) -> None:
        """Break every request in flight, and take no more."""
        self.broken = Broken(f"{self.name} broke off: {why}")
        for flight in self.flights.values():
            flight.end(self.broken)
        chores = list(self._chores)
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    def _progressed(self, params: dict[str, Any]) -> None:
        number = numbered(params.get("progressToken"))
        flight = None if number is None else self.flights.get(number)
        if flight is None or flight.asked is None or flight.asked.token is None:
            return
        told = {**params, "progressToken": flight.asked.token}
        flight.tell({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})

    async def _refuse(self, method: str, params: dict[str, Any], number: str | int, origin: int | None) -> None:
        refused = {"code": METHOD_NOT_FOUND, "message": f"{method[:80]} is not offered here"}
        await self.reply(number, {"result": {}} if method == "ping" else {"error": refused})


def _ignore(method: str, params: dict[str, Any], origin: int | None) -> None:
    return
