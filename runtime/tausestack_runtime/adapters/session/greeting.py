"""Finding out how a server speaks, and opening the session with it accordingly."""

from __future__ import annotations

import asyncio
from typing import Any

from tausestack.raw import object_at
from tausestack_runtime.adapters.asked import Answered
from tausestack_runtime.adapters.session.catalogue import Catalogue
from tausestack_runtime.adapters.session.earlier import Earlier
from tausestack_runtime.adapters.session.flight import Flight
from tausestack_runtime.adapters.session.modern import OWN_META, Modern, answers_modern
from tausestack_runtime.adapters.session.peer import Peer
from tausestack_runtime.adapters.session.tongue import Tongue
from tausestack_runtime.adapters.session.waiting import WaitingRoom

START_SECONDS = 30.0
PROBE_SECONDS = 5.0
"""How long a server may say nothing to `server/discover` before it is taken for an earlier one."""


async def greeted(peer: Peer, catalogue: Catalogue, room: WaitingRoom, is_modern: bool | None) -> Tongue:
    """Return a server ready to be asked; where nobody knows yet how it speaks, it is asked that first.

    Raises `Answered`, `Broken`, `UpstreamError` or `TimeoutError` where it does not get ready.
    """
    if is_modern is False:
        return await Earlier.greet(peer, catalogue, room, START_SECONDS)
    flight = await peer.begin("server/discover", {"_meta": OWN_META})
    try:
        outcome = await _outcome(flight, None if is_modern else PROBE_SECONDS)
        if outcome is None:
            return await _whichever(peer, flight, catalogue, room)
        if answers_modern(outcome):
            return await _modern(peer, catalogue, outcome)
    finally:
        peer.close(flight)
    return await Earlier.greet(peer, catalogue, room, START_SECONDS)


async def _whichever(peer: Peer, flight: Flight, catalogue: Catalogue, room: WaitingRoom) -> Tongue:
    """Greet a server that has said nothing yet; one that was only slow may still answer the first question."""
    greeting = asyncio.ensure_future(Earlier.greet(peer, catalogue, room, START_SECONDS))
    try:
        await asyncio.wait({greeting, flight.answer}, return_when=asyncio.FIRST_COMPLETED)
        outcome = await _outcome(flight, None) if flight.done else None
        if outcome is not None and answers_modern(outcome):
            return await _modern(peer, catalogue, outcome)
        try:
            return await greeting
        except Answered as error:
            if not answers_modern(error):
                raise
        # It speaks no earlier version: whatever takes it so long, it will say.
        return await _modern(peer, catalogue, await flight.answer)
    finally:
        greeting.cancel()
        await asyncio.wait({greeting})


async def _modern(peer: Peer, catalogue: Catalogue, outcome: dict[str, Any] | Answered) -> Modern:
    if isinstance(outcome, Answered):
        # A refusal names the versions, as a discovery would.
        outcome = {"supportedVersions": object_at(outcome.error, "data").get("supported")}
    return await Modern.made(peer, catalogue, outcome)


async def _outcome(flight: Flight, seconds: float | None) -> dict[str, Any] | Answered | None:
    # To wait in any other way for a future is to cancel it when the time is up, and it may still be answered.
    if not (await asyncio.wait({flight.answer}, timeout=seconds))[0]:
        return None
    try:
        return flight.answer.result()
    except Answered as error:
        return error
