"""Whose call a message belongs to that names none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tausestack.errors import INTERNAL_ERROR, METHOD_NOT_FOUND
from tausestack_runtime.adapters.asked import LEVELS
from tausestack_runtime.adapters.session.flight import Flight
from tausestack_runtime.adapters.translation.questions import can_answer
from tausestack_runtime.adapters.translation.requests import ASKS_BACK


def whose(
    flights: Mapping[int, Flight], origin: int | None, wanted: dict[str, Any], method: str
) -> Flight | dict[str, Any]:
    """Return the call that a server's question belongs to, or the error that the server gets instead.

    That is the call in whose stream it came. Where a link has no streams it is the one call whose caller can answer,
    and only while nobody else's call is under way: another's question is shown to no one. A call that waits for its
    caller has asked already, and is passed over for those that are at work.
    """
    if origin is not None:
        flight = flights.get(origin)
        if flight is None or flight.asked is None or flight.method not in ASKS_BACK:
            return unsupported(method)
        return flight if can_answer(flight.asked.capabilities, wanted) else unsupported(method)
    calls = [(one, one.asked) for one in flights.values() if one.asked is not None and one.method in ASKS_BACK]
    able = [one for one, asked in calls if can_answer(asked.capabilities, wanted)]
    at_work = [one for one, _ in calls if one.attended]
    asking = [one for one in able if one.attended or not at_work]
    if able and (len(asking) > 1 or len({asked.principal for _, asked in calls}) > 1):
        why = f"{method} names no call, and several are under way: ask while there is one alone"
        return {"code": INTERNAL_ERROR, "message": why}
    return asking[0] if asking else unsupported(method)


def asking(flights: Mapping[int, Flight], wanted: dict[str, Any]) -> set[str]:
    """Return the principals whose calls are at work and who could answer a question."""
    calls = [one.asked for one in flights.values() if one.asked is not None and one.attended]
    return {asked.principal for asked in calls if can_answer(asked.capabilities, wanted)}


def hearer(flights: Mapping[int, Flight], origin: int | None, params: dict[str, Any]) -> Flight | None:
    """Return the call that a log message belongs to, where its caller wants to hear it."""
    if origin is not None:
        flight = flights.get(origin)
        return flight if flight is not None and _wants(flight, params) else None
    calls = [one for one in flights.values() if one.asked is not None]
    wanting = [one for one in calls if one.attended and _wants(one, params)]
    alone = len({one.asked.principal for one in calls if one.asked is not None}) == 1
    return wanting[0] if len(wanting) == 1 and alone else None


def unsupported(method: str) -> dict[str, Any]:
    """Return the error that says that a caller can't be asked this."""
    return {"code": METHOD_NOT_FOUND, "message": f"{method[:80]} is not supported by the client that calls"}


def _wants(flight: Flight, params: dict[str, Any]) -> bool:
    least = None if flight.asked is None else flight.asked.level
    level = params.get("level")
    return least is not None and level in LEVELS and LEVELS.index(level) >= least
