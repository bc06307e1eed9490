"""Whose roots a server of an earlier version has: its session is everybody's, and roots are a caller's own."""

from __future__ import annotations

import asyncio
from typing import Any

from tausestack.errors import DeadlineExceeded
from tausestack.raw import as_array, as_object, object_at
from tausestack_runtime.adapters.asked import Answered, Asked
from tausestack_runtime.adapters.session.peer import Peer
from tausestack_runtime.adapters.translation import questions
from tausestack_runtime.adapters.translation.requests import ASKS_BACK

ASK_SECONDS = 1.0
"""How long a server may take to ask for the roots again once it was told that they have changed."""
KEY = "roots"
_NONE: dict[str, Any] = {"roots": []}
_NOBODY = ""


class Roots:
    """Takes one caller's roots from a server before another's request reaches it.

    A server that asks again when roots change (`notifications/roots/list_changed`) is told that there are none now, and
    where the next caller has roots, it is asked for them first. One that does not ask again keeps by itself what it was
    told, which nobody else can change.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._owner: str | None = None
        """Whose the server has; `_NOBODY`: none, as it was told; None: it has not been told of any."""
        self._asks_again = True
        self._told: dict[str, Any] = _NONE
        self._asked: asyncio.Event | None = None
        self._turn = asyncio.Lock()

    def given(self, asked: Asked) -> None:
        """Note that a caller answers a question for its roots."""
        answers = as_object(asked.params.get("inputResponses")) or {}
        if any(as_array(object_at(answers, key).get("roots")) is not None for key in answers):
            self._owner = asked.principal

    async def answered(self, number: str | int, origin: int | None) -> bool:
        """Answer a server's question where it is the one that a change made it ask, and return whether it was."""
        if self._asked is None or self._asked.is_set() or origin is not None:
            return False
        self._asked.set()
        await self._peer.reply(number, {"result": self._told})
        return True

    async def belong(self, asked: Asked) -> dict[str, Any] | None:
        """Have the server know no other caller's roots; return what to ask the caller first, where it has some."""
        if self._owner is None or self._owner == asked.principal:
            return None
        async with self._turn:
            if self._owner != _NOBODY and self._owner != asked.principal:
                self._owner = _NOBODY
                await self._change(_NONE)
            able = asked.method in ASKS_BACK and questions.can_answer(asked.capabilities, {"roots": {}})
            if self._owner != _NOBODY or not self._asks_again or not able or self._others(asked):
                return None
            brought = object_at(as_object(asked.params.get("inputResponses")) or {}, KEY)
            if questions.fault(questions.ROOTS, brought) is not None:
                return None if "requestState" in asked.params else {KEY: {"method": questions.ROOTS}}
            await self._change({"roots": brought["roots"]})
            self._owner = asked.principal
            return None

    def _others(self, asked: Asked) -> bool:
        """Whether another principal's call is under way, or waits: it would be shown what is told now."""
        calls = [one.asked for one in self._peer.flights.values() if one.asked is not None and one.method in ASKS_BACK]
        return any(one.principal != asked.principal for one in calls)

    async def _change(self, told: dict[str, Any]) -> None:
        """Tell the server that roots have changed, and wait until it has asked for them and was told."""
        if not self._asks_again:
            return
        self._told, self._asked = told, asyncio.Event()
        try:
            await self._peer.notify("notifications/roots/list_changed")
            await asyncio.wait_for(self._asked.wait(), ASK_SECONDS)
            # What was told has been taken once something that came after it is answered.
            await self._peer.call("ping", {}, ASK_SECONDS)
        except TimeoutError:
            self._asks_again = False
        except (Answered, DeadlineExceeded):
            return  # an answer of some kind, or a server that is busy: its next request comes after this one
        finally:
            self._asked = None
