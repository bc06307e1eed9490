"""The calls that wait for their caller between two rounds."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from dataclasses import dataclass
from typing import Any

from tausestack.errors import INTERNAL_ERROR, Unavailable
from tausestack.raw import as_object
from tausestack_runtime.adapters.asked import Asked, invalid
from tausestack_runtime.adapters.session.flight import Flight
from tausestack_runtime.adapters.session.peer import MAX_WAITING, Peer
from tausestack_runtime.adapters.session.sealing import Sealer, State, digest
from tausestack_runtime.adapters.translation import questions

WAIT_SECONDS = 600.0
"""How long a caller may take to come back with the answers."""
YIELD_SECONDS = 60.0
"""How long it may where another principal's call is refused a question meanwhile, from when it was asked."""


@dataclass
class _Waiting:
    peer: Peer
    flight: Flight
    since: float
    expiry: asyncio.TimerHandle | None = None


class WaitingRoom:
    """The calls of a tenant's servers that wait, each under a name that only its sealed state tells."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS, yield_seconds: float = YIELD_SECONDS) -> None:
        self._seconds, self._yields = wait_seconds, min(wait_seconds, yield_seconds)
        self._sealer = Sealer()
        self._calls: dict[str, _Waiting] = {}

    def again(self, server: str, asked: Asked, requests: dict[str, Any]) -> dict[str, Any]:
        """Return the result that asks a caller for something, then to make his request anew."""
        return self._required(server, asked, requests, "", 0)

    def leave(self, server: str, peer: Peer, flight: Flight, asked: Asked) -> dict[str, Any]:
        """Let a call wait for what its server has asked, and return the result that asks the caller for it."""
        if sum(one.peer is peer for one in self._calls.values()) >= MAX_WAITING:
            raise Unavailable(f"{server} has {MAX_WAITING} calls that wait for their callers already")
        name = secrets.token_urlsafe(12)
        flight.attended = False
        flight.round += 1
        loop = asyncio.get_running_loop()
        waiting = _Waiting(peer, flight, loop.time())
        waiting.expiry = loop.call_later(self._seconds, self._expire, name)
        self._calls[name] = waiting
        requests = {
            key: questions.as_input_request(one.method, one.params, asked.capabilities)
            for key, one in flight.questions.items()
        }
        return self._required(server, asked, requests, name, flight.round)

    async def back(self, server: str, asked: Asked) -> tuple[Peer, Flight] | None:
        """Return the call that a caller comes back to, its server given the answers; None: the request is made anew.

        Raises `Answered` where the state or an answer is not good, and where the state has served already.
        """
        state = self._sealer.open(asked.params.get("requestState"), server, asked)
        if not state.waiting:
            return None
        waiting = self._calls.get(state.waiting)
        if waiting is None or waiting.flight.round != state.round:
            raise invalid("this requestState has served already, or its call is gone")
        flight = waiting.flight
        answers = as_object(asked.params.get("inputResponses")) or {}
        for key, one in flight.questions.items():
            wrong = questions.fault(one.method, answers[key]) if key in answers else None
            if wrong is not None:
                raise invalid(f"the answer to {key} {wrong}")
        del self._calls[state.waiting]
        if waiting.expiry is not None:
            waiting.expiry.cancel()
        flight.asked, flight.attended = asked, True
        answered = {key: one for key, one in flight.questions.items() if key in answers}
        for key, one in answered.items():
            del flight.questions[key]
            await waiting.peer.reply(one.number, {"result": answers[key]})
        return waiting.peer, flight

    def hurry(self, peer: Peer, asking: set[str]) -> int | None:
        """Have the calls that wait at a server yield to other principals', and return in how many seconds they will.

        None where there are none.
        """
        loop, last = asyncio.get_running_loop(), None
        for name, one in self._calls.items():
            asked = one.flight.asked
            if one.peer is not peer or asked is None or asking == {asked.principal}:
                continue
            at = one.since + self._yields
            if one.expiry is not None and one.expiry.when() > at:
                one.expiry.cancel()
                one.expiry = loop.call_at(at, self._expire, name)
            last = max(at, at if last is None else last)
        return None if last is None else max(1, math.ceil(last - loop.time()))

    async def aclose(self) -> None:
        """Forget every call; their sessions end on their own."""
        for one in self._calls.values():
            if one.expiry is not None:
                one.expiry.cancel()
        self._calls.clear()

    def _required(
        self, server: str, asked: Asked, requests: dict[str, Any], waiting: str, number: int
    ) -> dict[str, Any]:
        expires = time.time() + self._seconds
        state = State(server, asked.principal, digest(asked), expires, waiting, number)
        return {"resultType": "input_required", "inputRequests": requests, "requestState": self._sealer.seal(state)}

    def _expire(self, name: str) -> None:
        waiting = self._calls.pop(name, None)
        if waiting is not None:
            waiting.peer.chore(give_up(waiting.peer, waiting.flight, "nobody came back with the answers"))


async def give_up(peer: Peer, flight: Flight, why: str) -> None:
    """Let go of a call: its server is told that nobody waits for it, where it goes on, nor answers what it asked."""
    await peer.cancel(flight, why)
    for one in flight.questions.values():
        await peer.reply(one.number, {"error": {"code": INTERNAL_ERROR, "message": why}})
