"""The tally: how much each tenant uses just now, in memory that the gateways of a stack share.

A tenant has a slot, found by a digest of its id: its calls of the last minute, and its lists, by the second, and for
each gateway how many calls and connections it has open. The bytes are the board's, so that what is counted outlives a
gateway, and what one that died had open is struck off by the supervisor.
"""

from __future__ import annotations

import fcntl
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from tausestack.errors import RateLimited
from tausestack.tenancy import cache_key

D = TypeVar("D", bound=Callable[..., Any])

SLOTS = 32768
"""Tenants that are counted at once; a slot is another tenant's once its own has nothing in it."""
PROBES = 64
"""How far from its own place a tenant's slot may lie."""
SECONDS = 61
"""Whole seconds that a call is counted for, its own among them: so that any 60 s lie within."""
CALLS, CONNECTIONS, _HELD = 0, 1, 2
CALLED, LISTED, _MINUTES = 0, 1, 2
Full = Literal["calls", "minute"]
"""What has no room for another call."""
_KEY_DIGITS = 16
"""Hexadecimal digits of the digest that a tenant is known by in its slot."""
_WINDOW = SECONDS + 1  # the sum first
_WINDOWS = _MINUTES * _WINDOW
_COUNT = 4
"""Bytes of one second's."""

_KEYS_AT = 0
_STAMPS_AT = SLOTS * 8
_WINDOWS_AT = _STAMPS_AT + SLOTS * 8
_HELD_AT = _WINDOWS_AT + SLOTS * _WINDOWS * 4
_GATEWAY = SLOTS * _HELD * 4


class Tally:
    """The slots, as one thread of a process sees them that alone decides on them.

    Times are whole seconds of the machine's monotonic clock, which is the same in every process.
    """

    def __init__(self, memory: memoryview, gateways: int = 1) -> None:
        """Take `size(gateways)` bytes."""
        self._keys = memory[_KEYS_AT:_STAMPS_AT].cast("Q")
        self._stamps = memory[_STAMPS_AT:_WINDOWS_AT].cast("Q")
        self._windows = memory[_WINDOWS_AT:_HELD_AT].cast("I")
        starts = range(_HELD_AT, size(gateways), _GATEWAY)
        self._open = [memory[start : start + _GATEWAY].cast("I") for start in starts]
        """What each gateway has open, the first one's first."""
        self._places: dict[str, tuple[int, int]] = {}
        """The slot that each tenant was found in, and the key that stands there: another's once the slot is."""

    def admit(self, number: int, tenant: str, at_once: int, a_minute: int | None, second: int) -> Full | None:
        """Count a call of a gateway as open and in its second, or return what is full: both are one step.

        Without a limit of a minute it is not counted there.
        """
        slot = self._slot(tenant, second)
        cell = slot * _HELD + CALLS
        if at_once <= self._sum(cell):
            return "calls"
        if a_minute is not None and not self._hit(slot, slot * _WINDOWS, a_minute, 1, second):
            return "minute"
        self._open[number - 1][cell] += 1
        return None

    def hit(self, what: int, tenant: str, limit: int, amount: int, second: int) -> bool:
        """Count calls or lists of a second, or return False where the last minute would have more than the limit."""
        slot = self._slot(tenant, second)
        return self._hit(slot, slot * _WINDOWS + what * _WINDOW, limit, amount, second)

    def window(self, what: int, tenant: str, second: int) -> tuple[int, int]:
        """Return the first second that has some of the last minute, and how many there are; this one, 0 for none."""
        slot = self._slot(tenant, second)
        self._advance(slot, second)
        at = slot * _WINDOWS + what * _WINDOW
        total = self._windows[at]
        if not total:
            return second, 0
        seconds, oldest = self._windows[at + 1 : at + _WINDOW].tobytes(), (second + 1) % SECONDS * _COUNT
        # In order they are one number, which is as long as from the first of them that has some.
        since = int.from_bytes(seconds[oldest:] + seconds[:oldest]).bit_length()
        first = second - (since - 1) // (_COUNT * 8)
        return first, total

    def clear(self, what: int, tenant: str, second: int) -> None:
        """Forget a tenant's calls or lists of the last minute."""
        at = self._slot(tenant, second) * _WINDOWS + what * _WINDOW
        self._windows[at : at + _WINDOW] = memoryview(bytes(_WINDOW * 4)).cast("I")

    def take(self, number: int, what: int, tenant: str, limit: int, second: int) -> bool:
        """Count one more that a gateway has open, or return False where the gateways would have more than the limit."""
        cell = self._slot(tenant, second) * _HELD + what
        if limit <= self._sum(cell):
            return False
        self._open[number - 1][cell] += 1
        return True

    def give_back(self, number: int, what: int, tenant: str) -> None:
        """Count one less that a gateway has open: its own cell, which nobody else writes while it lives."""
        self._open[number - 1][self._places[tenant][0] * _HELD + what] -= 1

    def held(self, what: int, tenant: str, second: int) -> int:
        """Return how many all gateways have open."""
        return self._sum(self._slot(tenant, second) * _HELD + what)

    def forget(self, number: int) -> None:
        """Strike off what a gateway had open that is dead."""
        self._open[number - 1][:] = memoryview(bytes(_GATEWAY)).cast("I")

    def _hit(self, slot: int, at: int, limit: int, amount: int, second: int) -> bool:
        if self._stamps[slot] < second:
            self._advance(slot, second)
        window = self._windows
        total = window[at] + amount
        if total > limit:
            return False
        window[at] = total
        window[at + 1 + second % SECONDS] += amount
        return True

    def _sum(self, cell: int) -> int:
        """Return what all gateways have open, of which there is one."""
        return self._open[0][cell]

    def _slot(self, tenant: str, second: int) -> int:
        """Return a tenant's slot."""
        place = self._places.get(tenant)
        if place is None or self._keys[place[0]] != place[1]:
            # It has none yet, or another has it since nothing was left in it.
            place = self._places[tenant] = self._find(tenant, second)
        return place[0]

    def _advance(self, slot: int, second: int) -> None:
        """Take what is over a minute old out of a slot."""
        behind, window = second - self._stamps[slot], self._windows
        if behind <= 0:
            return
        for at in _minutes(slot):
            if window[at]:
                for each in range(second - min(behind, SECONDS) + 1, second + 1):
                    cell = at + 1 + each % SECONDS
                    window[at] -= window[cell]
                    window[cell] = 0
        self._stamps[slot] = second

    def _find(self, tenant: str, second: int) -> tuple[int, int]:
        key = int(cache_key(tenant, "", "", "limits")[:_KEY_DIGITS], 16) or 1
        home = key % SLOTS
        free: int | None = None
        for step in range(PROBES):
            slot = (home + step) % SLOTS
            there = self._keys[slot]
            if there == key:
                return slot, key
            if free is None and self._is_free(slot, second):
                free = slot
            if not there:
                break
        if free is None:
            raise RateLimited("More tenants are busy than can be counted: come again", retry_after=1)
        self._keys[free] = key
        self._advance(free, second)
        return free, key

    def _is_free(self, slot: int, second: int) -> bool:
        """Whether nothing of anybody's is in a slot."""
        idle = not any(self._windows[at] for at in _minutes(slot)) or second - self._stamps[slot] >= SECONDS
        return idle and not any(self._sum(slot * _HELD + what) for what in (CALLS, CONNECTIONS))


def _in_turn(decide: D) -> D:
    """Have something be decided while nobody else decides; the kernel ends the turn of whoever dies in it."""

    @functools.wraps(decide)
    def decided(self: SharedTally, *arguments: Any, **named: Any) -> Any:
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1)
        try:
            return decide(self, *arguments, **named)
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1)

    return cast("D", decided)


class SharedTally(Tally):
    """The slots that several gateways decide on, one after the other."""

    def __init__(self, memory: memoryview, gateways: int, descriptor: int) -> None:
        """Take `size(gateways)` bytes, and the descriptor that they are locked by."""
        super().__init__(memory, gateways)
        self.descriptor = descriptor

    admit = _in_turn(Tally.admit)
    hit = _in_turn(Tally.hit)
    window = _in_turn(Tally.window)
    clear = _in_turn(Tally.clear)
    take = _in_turn(Tally.take)
    held = _in_turn(Tally.held)

    def _sum(self, cell: int) -> int:
        return sum([each[cell] for each in self._open])


def tally(memory: memoryview, gateways: int, descriptor: int) -> Tally:
    """Return the tally in `size(gateways)` bytes, which gateways share by a descriptor where there are several."""
    return Tally(memory) if gateways == 1 else SharedTally(memory, gateways, descriptor)


def _minutes(slot: int) -> tuple[int, ...]:
    """Return where a slot's minutes begin."""
    return tuple(slot * _WINDOWS + what * _WINDOW for what in range(_MINUTES))


def size(gateways: int) -> int:
    """Return how many bytes a tally of some gateways takes; what no tenant's slot is in takes no memory."""
    return _HELD_AT + gateways * _GATEWAY
