"""The tally: how much each tenant uses just now, in memory that the gateways of a stack share.

A tenant has a slot, found by a digest of its id, in what each gateway has counted. The bytes are the board's, so that
what is counted outlives a gateway, and what one that died had open is struck off by the supervisor.
"""

from __future__ import annotations

import fcntl
from typing import Literal

from tausestack.errors import RateLimited
from tausestack.tenancy import cache_key
from tausestack_runtime.counted import CALLED, CALLS, COUNTED_BYTES, MINUTES, OPEN, SLOTS, Counted

PROBES = 64
"""How far from its own place a tenant's slot may lie."""
Full = Literal["calls", "minute"]
"""What has no room for another call."""
MARGIN = 8
"""How far from a limit gateways decide without waiting for one another: so many places for each of them."""
_KEY_DIGITS = 16
"""Hexadecimal digits of the digest that a tenant is known by in its slot."""
_KEYS_BYTES = SLOTS * 8
_NO_LIMIT = 2**32


class Tally:
    """The slots, as one thread of a process sees them that alone decides on them.

    Times are whole seconds of the machine's monotonic clock, which is the same in every process.
    """

    def __init__(self, memory: memoryview, gateways: int = 1) -> None:
        """Take `size(gateways)` bytes."""
        self._keys = memory[:_KEYS_BYTES].cast("Q")
        starts = range(_KEYS_BYTES, size(gateways), COUNTED_BYTES)
        self._counted = [Counted(memory[start : start + COUNTED_BYTES]) for start in starts]
        """What each gateway has counted, the first one's first."""
        self._places: dict[str, tuple[int, int]] = {}
        """The slot that each tenant was found in, and the key that stands there: another's once the slot is."""

    def admit(self, number: int, tenant: str, at_once: int, a_minute: int | None, second: int) -> Full | None:
        """Count a call of a gateway as open and in its second, or return what is full: both are one step.

        Without a limit of a minute it is not counted there.
        """
        return self._admit(number, self._place(tenant, second)[0], at_once, a_minute, second)

    def hit(self, number: int, what: int, tenant: str, limit: int, amount: int, second: int) -> bool:
        """Count calls or lists of a second, or return False where the last minute would have more than the limit."""
        return self._hit(number, self._place(tenant, second)[0], what, limit, amount, second)

    def take(self, number: int, what: int, tenant: str, limit: int, second: int) -> bool:
        """Count one more that a gateway has open, or return False where the gateways would have more than the limit."""
        return self._take(number, self._place(tenant, second)[0] * OPEN + what, limit)

    def give_back(self, number: int, what: int, tenant: str) -> None:
        """Count one less that a gateway has open."""
        self._counted[number - 1].open[self._places[tenant][0] * OPEN + what] -= 1

    def held(self, what: int, tenant: str, second: int) -> int:
        """Return how many all gateways have open, as near as can be told of counts that are read one after another."""
        return self._open(self._place(tenant, second)[0] * OPEN + what)

    def window(self, what: int, tenant: str, second: int) -> tuple[int, int]:
        """Return the first second that has some of the last minute, and how many there are; this one, 0 for none."""
        return self._window(self._place(tenant, second)[0], what, second)

    def clear(self, number: int, what: int, tenant: str, second: int) -> None:
        """Forget the calls or lists of a tenant's last minute that a gateway has counted."""
        self._counted[number - 1].clear(self._place(tenant, second)[0], what)

    def forget(self, number: int) -> None:
        """Strike off what a gateway had open that is dead."""
        self._counted[number - 1].close()

    def _admit(self, number: int, slot: int, at_once: int, a_minute: int | None, second: int) -> Full | None:
        cell = slot * OPEN + CALLS
        if at_once <= self._open(cell):
            return "calls"
        if a_minute is not None and not self._hit(number, slot, CALLED, a_minute, 1, second):
            return "minute"
        self._counted[number - 1].open[cell] += 1
        return None

    def _hit(self, number: int, slot: int, what: int, limit: int, amount: int, second: int) -> bool:
        return self._counted[number - 1].hit(slot, what, limit, amount, second)

    def _take(self, number: int, cell: int, limit: int) -> bool:
        if limit <= self._open(cell):
            return False
        self._counted[number - 1].open[cell] += 1
        return True

    def _window(self, slot: int, what: int, second: int) -> tuple[int, int]:
        return self._counted[0].window(slot, what, second)

    def _open(self, cell: int) -> int:
        """Return what all gateways have open, of which there is one."""
        return self._counted[0].open[cell]

    def _place(self, tenant: str, second: int) -> tuple[int, int]:
        """Return a tenant's slot and its key."""
        place = self._places.get(tenant)
        if place is None or self._keys[place[0]] != place[1]:
            # It has none yet, or another has it since nothing was left in it.
            place = self._places[tenant] = self._find(tenant, second)
        return place

    def _find(self, tenant: str, second: int) -> tuple[int, int]:
        key = int(cache_key(tenant, "", "", "limits")[:_KEY_DIGITS], 16) or 1
        slot = self._search(key, second)
        while slot is None:
            slot = self._search(key, second)
        return slot, key

    def _search(self, key: int, second: int) -> int | None:
        """Return the slot of a key, which may have been nobody's; None where somebody began to count in that."""
        free: int | None = None
        for step in range(PROBES):
            slot = (key + step) % SLOTS
            there = self._keys[slot]
            if there == key:
                return slot
            if free is None and self._is_idle(slot, second):
                free = slot
            if not there:
                break
        if free is None:
            raise RateLimited("More tenants are busy than can be counted: come again", retry_after=1)
        before, self._keys[free] = self._keys[free], key
        if self._is_idle(free, second):
            return free
        self._keys[free] = before
        return None

    def _is_idle(self, slot: int, second: int) -> bool:
        return all(each.idle(slot, second) for each in self._counted)


class SharedTally(Tally):
    """The slots that several gateways decide on.

    A gateway counts first, and then looks at what all have counted. Far from the limit it has what it wants: what the
    others want just now, one thing each, does not fill it. Near the limit it takes that back and waits for its turn, in
    which all is seen that was decided before. Who makes a slot a tenant's notes that first, too, and then looks whether
    anybody counts there: of two that meet in a slot, one sees the other.
    """

    def __init__(self, memory: memoryview, gateways: int, descriptor: int) -> None:
        """Take `size(gateways)` bytes, and the descriptor that is locked for a turn."""
        super().__init__(memory, gateways)
        self._turn = _Turn(descriptor)
        self._margin = MARGIN * gateways

    def admit(self, number: int, tenant: str, at_once: int, a_minute: int | None, second: int) -> Full | None:
        while True:
            slot, key = self._place(tenant, second)
            if self._freely(number, slot, key, CALLS, at_once, a_minute, second):
                return None
            with self._turn:
                if self._keys[slot] == key:
                    return self._admit(number, slot, at_once, a_minute, second)

    def hit(self, number: int, what: int, tenant: str, limit: int, amount: int, second: int) -> bool:
        while True:
            slot, key = self._place(tenant, second)
            with self._turn:
                if self._keys[slot] == key:
                    return self._hit(number, slot, what, limit, amount, second)

    def take(self, number: int, what: int, tenant: str, limit: int, second: int) -> bool:
        while True:
            slot, key = self._place(tenant, second)
            if self._freely(number, slot, key, what, limit, None, second):
                return True
            with self._turn:
                if self._keys[slot] == key:
                    return self._take(number, slot * OPEN + what, limit)

    def _freely(
        self, number: int, slot: int, key: int, what: int, most: int, a_minute: int | None, second: int
    ) -> bool:
        """Count one more that is open, and a call of a second, or return False where that has to be done in turn."""
        if not self._is_far(slot, key, what, most, a_minute):
            return False
        own, cell = self._counted[number - 1], slot * OPEN + what
        own.open[cell] += 1
        if a_minute is not None:
            own.hit(slot, CALLED, _NO_LIMIT, 1, second)
        if self._is_far(slot, key, what, most, a_minute):
            return True
        own.open[cell] -= 1
        if a_minute is not None:
            own.take_back(slot, CALLED, 1, second)
        return False

    def _is_far(self, slot: int, key: int, what: int, most: int, a_minute: int | None) -> bool:
        """Whether a slot is a key's still, and what is counted there far from its limits, old or not."""
        open_, called = self._margin, 0 if a_minute is None else self._margin
        cell, at = slot * OPEN + what, slot * MINUTES
        for each in self._counted:
            open_ += each.open[cell]
            if a_minute is not None:
                called += each.minutes[at]
        return open_ <= most and (a_minute is None or called <= a_minute) and self._keys[slot] == key

    def _hit(self, number: int, slot: int, what: int, limit: int, amount: int, second: int) -> bool:
        own = self._counted[number - 1]
        others = sum([each.lately(slot, what, second) for each in self._counted if each is not own])
        return own.hit(slot, what, limit - others, amount, second)

    def _window(self, slot: int, what: int, second: int) -> tuple[int, int]:
        found = [each.window(slot, what, second) for each in self._counted]
        return min(first for first, _ in found), sum(count for _, count in found)

    def _open(self, cell: int) -> int:
        return sum([each.open[cell] for each in self._counted])

    def _find(self, tenant: str, second: int) -> tuple[int, int]:
        with self._turn:
            return super()._find(tenant, second)


class _Turn:
    """A lock between the gateways, which the kernel takes from one that dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1)


def tally(memory: memoryview, gateways: int, descriptor: int) -> Tally:
    """Return the tally in `size(gateways)` bytes, which gateways share by a descriptor where there are several."""
    return Tally(memory) if gateways == 1 else SharedTally(memory, gateways, descriptor)


def size(gateways: int) -> int:
    """Return how many bytes a tally of some gateways takes; what no tenant's slot is in takes no memory."""
    return _KEYS_BYTES + gateways * COUNTED_BYTES
