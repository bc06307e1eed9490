"""Who may go on: a call has its place and room in the minute, a list room in its own, a connection its share of what is
open; or is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tausestack.errors import RateLimited
from tausestack.limits import exceeded
from tausestack_runtime.board import Board
from tausestack_runtime.counted import CALLED, CALLS, CONNECTIONS, LISTED
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.limits.allowances import KINDS, MINUTE, Limits
from tausestack_runtime.gateway.limits.windows import Clock, moving_windows, per_minute

MINUTELY, LISTS, AT_ONCE, OPEN = "calls_per_minute", "lists_per_minute", "concurrent_calls", "connections"
_NO_LIMIT = 2**32
GATE_SECONDS = 1
"""When to come again where what is open at once is all there may be."""
FREE = frozenset({"get_limits", "explain"})
"""Tools of `platform` that are answered beyond `calls_per_minute`: they say when there is room again."""


class Standing(NamedTuple):
    """How a limit stands: how much is used, and when (some of) that comes back (UTC), where time brings it back."""

    used: int
    resets_at: datetime | None = None


class Limiter:
    """What calls and connections of every tenant are let through by, in one of the gateways of a board."""

    def __init__(self, board: Board, number: int, clock: Clock = time.monotonic) -> None:
        self._tally, self._number, self._clock = board.tally, number, clock
        minutes = {MINUTELY: CALLED, LISTS: LISTED}
        self._windows = {name: moving_windows(board.tally, number, clock, what) for name, what in minutes.items()}

    def admit(self, call: Call, limits: Limits) -> None:
        """Give a call its place and count it, or raise `RateLimited`; one nested in another is a part of that.

        The place is given back by `leave`.
        """
        if call.parent is not None:
            return
        at_once, a_minute = limits.amounts.get(AT_ONCE, _NO_LIMIT), limits.amounts.get(MINUTELY)
        if is_free(call):
            a_minute = None
        full = self._tally.admit(self._number, call.tenant, at_once, a_minute, int(self._clock()))
        if full is None:
            call.placed = True
        elif full == "calls" or a_minute is None:
            raise exceeded(AT_ONCE, KINDS[AT_ONCE].about, at_once, at_once, retry_after=GATE_SECONDS)
        else:
            raise self._over(MINUTELY, call.tenant, a_minute)

    def admit_list(self, tenant: str, limits: Limits) -> None:
        """Count what a door answers itself, or raise `RateLimited`."""
        most = limits.amounts.get(LISTS)
        if not self._tally.hit(
            self._number, LISTED, tenant, _NO_LIMIT if most is None else most, 1, int(self._clock())
        ):
            raise self._over(LISTS, tenant, most or 0)

    def leave(self, call: Call) -> None:
        """Give back a call's place, where it has one."""
        if call.placed:
            call.placed = False
            self._tally.give_back(self._number, CALLS, call.tenant)

    def minute(self, tenant: str, limits: Limits, name: str = MINUTELY) -> tuple[int, int, int] | None:
        """Return what a limit of a minute allows a tenant, how much is left, and the seconds until there is more."""
        most = limits.amounts.get(name)
        if most is None:
            return None
        reset, left = self._windows[name].get_window_stats(per_minute(most), tenant)
        return most, max(left, 0), max(1, math.ceil(reset - self._clock())) if left < most else MINUTE

    def standings(self, tenant: str) -> dict[str, Standing]:
        """Return how what is counted here stands."""
        second = int(self._clock())
        return {
            **{name: self._used(name, tenant) for name in self._windows},
            AT_ONCE: Standing(self._tally.held(CALLS, tenant, second)),
            OPEN: Standing(self._tally.held(CONNECTIONS, tenant, second)),
        }

    def _used(self, name: str, tenant: str) -> Standing:
        reset, left = self._windows[name].get_window_stats(per_minute(0), tenant)
        free = None if not left else datetime.now(UTC) + timedelta(seconds=reset - self._clock())
        return Standing(-left, free)

    def _over(self, name: str, tenant: str, most: int) -> RateLimited:
        reset, left = self._windows[name].get_window_stats(per_minute(most), tenant)
        wait = max(1, math.ceil(reset - self._clock()))
        return exceeded(name, KINDS[name].about, most, most - min(left, most), retry_after=wait)


def is_free(call: Call) -> bool:
    """Whether a call is answered beyond `calls_per_minute`."""
    return call.server == "platform" and call.tool in FREE


class Connections:
    """The open requests and streams of tenants, each within its limit."""

    def __init__(self, board: Board, number: int, limits: Callable[[str], Limits]) -> None:
        """`limits` tells a tenant's as they were last known."""
        self._tally, self._number, self._limits = board.tally, number, limits

    def take(self, tenant: str) -> None:
        """Count one more, or raise `RateLimited`."""
        most = self._limits(tenant).amounts.get(OPEN, _NO_LIMIT)
        if not self._tally.take(self._number, CONNECTIONS, tenant, most, int(time.monotonic())):
            raise exceeded(OPEN, KINDS[OPEN].about, most, most, retry_after=GATE_SECONDS)

    def give_back(self, tenant: str) -> None:
        """Count one less."""
        self._tally.give_back(self._number, CONNECTIONS, tenant)

    def held(self, tenant: str) -> int:
        """Return how many of a tenant's are open, at whichever gateway."""
        return self._tally.held(CONNECTIONS, tenant, int(time.monotonic()))
