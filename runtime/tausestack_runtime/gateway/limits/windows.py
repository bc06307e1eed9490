"""Calls and lists a minute, counted for the `limits` library in the tally that the gateways share."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from limits import RateLimitItemPerMinute
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from tausestack_runtime.counted import CALLED, SECONDS
from tausestack_runtime.gateway.limits.allowances import MINUTE
from tausestack_runtime.tally import Tally

Clock = Callable[[], float]
"""Seconds of the machine's monotonic clock."""


class PerMinute(RateLimitItemPerMinute):
    """So many in any minute, counted by tenant: a limit that is changed goes on with what was counted."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """Return the tenant."""
        (tenant,) = identifiers
        return str(tenant)


@lru_cache(4096)
def per_minute(amount: int) -> PerMinute:
    """Return the limit of so many."""
    return PerMinute(amount)


class TallyStorage(Storage, MovingWindowSupport):
    """The storage of `limits`, over one of the tally's minutes, in which one gateway counts; keys are tenants.

    What came in counts from its second for 60 to 61 s, so that no 60 s ever have more than the limit.
    """

    STORAGE_SCHEME = None

    def __init__(self, tally: Tally, number: int, clock: Clock = time.monotonic, what: int = CALLED) -> None:
        super().__init__()
        self._tally, self._number = tally, number
        self._what = what
        self._clock = clock

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """What memory raises: nothing."""
        return ()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count some, or return False where the last minute would have more than the limit."""
        del expiry
        return self._tally.hit(self._number, self._what, key, limit, amount, int(self._clock()))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the last minute's first one came, no more exactly than the second, and how many were."""
        del limit
        first, count = self._tally.window(self._what, key, int(self._clock()))
        return float(first + SECONDS - expiry), count

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count without a limit, and return how many the last minute has."""
        self.acquire_entry(key, 2**32 - 1, expiry, amount)
        return self.get(key)

    def get(self, key: str) -> int:
        """Return how many the last minute has."""
        return self.get_moving_window(key, 0, MINUTE)[1]

    def get_expiry(self, key: str) -> float:
        """Return when the first of the last minute stops counting."""
        return self.get_moving_window(key, 0, MINUTE)[0] + MINUTE

    def check(self) -> bool:
        """Return True: memory is always there."""
        return True

    def reset(self) -> int | None:
        """Return None: what is counted ends by itself within a minute."""
        return None

    def clear(self, key: str) -> None:
        """Forget what the gateway has counted of a tenant's minute."""
        self._tally.clear(self._number, self._what, key, int(self._clock()))


def moving_windows(
    tally: Tally, number: int, clock: Clock = time.monotonic, what: int = CALLED
) -> MovingWindowRateLimiter:
    """Return the library's strategy over the tally, of calls or of lists, for a gateway."""
    return MovingWindowRateLimiter(TallyStorage(tally, number, clock, what))
