"""What one gateway has counted: of each slot's tenant its calls of the last minute, its lists, and what it has open."""

from __future__ import annotations

SLOTS = 32768
"""Tenants that are counted at once; a slot is another tenant's once its own has nothing in it."""
SECONDS = 61
"""Whole seconds that a call is counted for, its own among them: so that any 60 s lie within."""
CALLS, CONNECTIONS, OPEN = 0, 1, 2
CALLED, LISTED = 0, 1
_MINUTE = SECONDS + 1  # the sum first
MINUTES = 2 * _MINUTE
_COUNT = 4
"""Bytes of a number."""

_MINUTES_AT = SLOTS * 8
_OPEN_AT = _MINUTES_AT + SLOTS * MINUTES * _COUNT
COUNTED_BYTES = _OPEN_AT + SLOTS * OPEN * _COUNT
"""How many bytes it takes; what no tenant's slot is in takes no memory."""


class Counted:
    """The counts of one gateway, which nobody else writes while it lives, and anybody reads.

    A sum is written before what it sums up, so that who reads it never finds less than there is.
    """

    __slots__ = ("_stamps", "minutes", "open")

    def __init__(self, memory: memoryview) -> None:
        """Take `COUNTED_BYTES`."""
        self._stamps = memory[:_MINUTES_AT].cast("Q")
        self.minutes = memory[_MINUTES_AT:_OPEN_AT].cast("I")
        """Of each slot, from `slot * MINUTES` on, a minute's calls and one's lists: their sum, then each second's."""
        self.open = memory[_OPEN_AT:COUNTED_BYTES].cast("I")
        """Of each slot, from `slot * OPEN` on, the calls and the connections that are open."""

    def hit(self, slot: int, what: int, limit: int, amount: int, second: int) -> bool:
        """Count calls or lists of a second, or return False where the last minute would have more than the limit."""
        if self._stamps[slot] < second:
            self._advance(slot, second)
        minutes, at = self.minutes, slot * MINUTES + what * _MINUTE
        total = minutes[at] + amount
        if total > limit:
            return False
        minutes[at] = total
        minutes[at + 1 + second % SECONDS] += amount
        return True

    def take_back(self, slot: int, what: int, amount: int, second: int) -> None:
        """Count less by what was counted just now."""
        at = slot * MINUTES + what * _MINUTE
        self.minutes[at] -= amount
        self.minutes[at + 1 + second % SECONDS] -= amount

    def lately(self, slot: int, what: int, second: int) -> int:
        """Return how many the last minute has."""
        total = self.minutes[slot * MINUTES + what * _MINUTE]
        if not total or self._stamps[slot] >= second:
            return total
        return sum(memoryview(self._seconds(slot, what, second)).cast("I"))

    def window(self, slot: int, what: int, second: int) -> tuple[int, int]:
        """Return the first second that has some of the last minute, and how many there are; this one, 0 for none."""
        total = self.lately(slot, what, second)
        if not total:
            return second, 0
        seconds = self._seconds(slot, what, second)
        # In order they are one number, which is as long as from the first of them that has some.
        length = (int.from_bytes(seconds).bit_length() - 1) // (_COUNT * 8)
        return second - (SECONDS - len(seconds) // _COUNT) - length, total

    def clear(self, slot: int, what: int) -> None:
        """Forget the calls or lists of the last minute."""
        at = slot * MINUTES + what * _MINUTE
        self.minutes[at : at + _MINUTE] = memoryview(bytes(_MINUTE * _COUNT)).cast("I")

    def close(self) -> None:
        """Strike off all that is open."""
        self.open[:] = memoryview(bytes(SLOTS * OPEN * _COUNT)).cast("I")

    def idle(self, slot: int, second: int) -> bool:
        """Whether nothing is counted in a slot."""
        if self.open[slot * OPEN + CALLS] or self.open[slot * OPEN + CONNECTIONS]:
            return False
        if second - self._stamps[slot] >= SECONDS:
            return True
        return not any(self.minutes[at] for at in _minutes(slot))

    def _seconds(self, slot: int, what: int, second: int) -> bytes:
        """Return the last minute's seconds in order; those are left out that nothing was counted in yet."""
        at = slot * MINUTES + what * _MINUTE
        seconds, oldest = self.minutes[at + 1 : at + _MINUTE].tobytes(), (second + 1) % SECONDS * _COUNT
        behind = second - self._stamps[slot]
        if behind <= 0:
            return seconds[oldest:] + seconds[:oldest]
        return (seconds[oldest:] + seconds[:oldest])[: max(0, SECONDS - behind) * _COUNT]

    def _advance(self, slot: int, second: int) -> None:
        """Take what is over a minute old out of a slot."""
        behind, minutes = second - self._stamps[slot], self.minutes
        for at in _minutes(slot):
            if minutes[at]:
                for each in range(second - min(behind, SECONDS) + 1, second + 1):
                    cell = at + 1 + each % SECONDS
                    minutes[at] -= minutes[cell]
                    minutes[cell] = 0
        self._stamps[slot] = second


def _minutes(slot: int) -> range:
    """Return where a slot's minutes begin."""
    return range(slot * MINUTES, (slot + 1) * MINUTES, _MINUTE)
