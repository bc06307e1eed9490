"""Passwords: how they are kept, and how many may be tried."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tausestack.errors import InvalidArguments, RateLimited
from tausestack.tenancy import cache_key

MIN_CHARACTERS, MAX_CHARACTERS = 8, 256
AT_ONCE = 2
"""How many passwords are checked at once, in 19 MiB each."""
WAITING = 8
"""How many passwords of one tenant may be under way or wait."""
FREE_FAILURES = 5
"""How many wrong passwords in a row cost nothing."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15, 300
REMEMBERED = 10_000
"""How many names are remembered. Driving one out takes longer than its pause: each try costs a hash."""


class Attempts:
    """Slows down who guesses: after some failures a name has to wait, whether there is such a person or not.

    In memory: a process that nobody asks for five minutes ends, which is as long as the longest pause.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._trying: Counter[str] = Counter()

    @contextmanager
    def trying(self, tenant: str, name: str) -> Generator[None]:
        """Let one password of a name be tried, or raise `RateLimited` where it has to wait.

        What is being tried counts as if it were wrong: who guesses at once guesses no more often than one by one.
        """
        key = cache_key(tenant, name, "")
        count, until = self._failures.get(key, (0, 0.0))
        wait = until - self._clock()
        if wait > 0:
            raise RateLimited("Too many wrong passwords: wait before the next", retry_after=int(wait) + 1)
        if self._trying[key] >= max(FREE_FAILURES - count, 1):
            raise RateLimited("Too many passwords of this name are checked at this moment", retry_after=1)
        self._trying[key] += 1
        try:
            yield
        finally:
            self._trying[key] -= 1
            if not self._trying[key]:
                del self._trying[key]

    def failed(self, tenant: str, name: str) -> None:
        """Count a failure."""
        key = cache_key(tenant, name, "")
        count = self._failures.pop(key, (0, 0.0))[0] + 1
        over = count - FREE_FAILURES
        pause = 0 if over < 0 else min(FIRST_PAUSE_SECONDS * 2 ** min(over, 10), LONGEST_PAUSE_SECONDS)
        self._failures[key] = (count, self._clock() + pause)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, tenant: str, name: str) -> None:
        """Forget the failures of a name."""
        self._failures.pop(cache_key(tenant, name, ""), None)


class Passwords:
    """Hashes and checks passwords with argon2id, few at a time."""

    def __init__(self) -> None:
        # OWASP's second choice: 19 MiB, two passes, one lane.
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._threads = anyio.CapacityLimiter(AT_ONCE)
        self._waiting: Counter[str] = Counter()
        self._nobody = self._hasher.hash("a password that nobody has")

    async def hash(self, tenant: str, password: str) -> str:
        """Return what is kept of a password, or raise `InvalidArguments` for one that is too short or too long."""
        if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
            raise InvalidArguments(f"A password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters")
        with self._waits(tenant):
            return await anyio.to_thread.run_sync(self._hasher.hash, password, limiter=self._threads)

    async def is_right(self, tenant: str, kept: str | None, password: str) -> bool:
        """Return whether a password is the one that is kept; without one it takes as long, and is wrong."""
        with self._waits(tenant):
            right = await anyio.to_thread.run_sync(self._check, kept, password, limiter=self._threads)
        return right and kept is not None

    @contextmanager
    def _waits(self, tenant: str) -> Generator[None]:
        """Take a place among a tenant's, or raise `RateLimited`: who has many is not to hold up who has one."""
        if self._waiting[tenant] >= WAITING:
            raise RateLimited("Too many passwords are checked or set at this moment", retry_after=1)
        self._waiting[tenant] += 1
        try:
            yield
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant]

    def _check(self, kept: str | None, password: str) -> bool:
        try:
            return self._hasher.verify(kept or self._nobody, password[:MAX_CHARACTERS])
        except (VerificationError, InvalidHashError):
            return False
