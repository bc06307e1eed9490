"""Breakers: a third party's server that is away is not waited for by every call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from tausestack.errors import DeadlineExceeded, InDoubt, RateLimited, TauseError, Unavailable, UpstreamError

FAILURES = 3
"""How many times in a row a server has to fail before calls to it fail at once."""
FIRST_PAUSE_SECONDS, PAUSE_GROWTH, LAST_PAUSE_SECONDS = 1.0, 2.0, 30.0
MAX_KEPT = 4096
MAX_IN_FLIGHT = 128
"""How many calls to one of its third-party servers a tenant may have in flight: half of all that it may have."""


_NOBODY_BEHIND = frozenset({502, 503, 504})
"""The HTTP statuses by which a proxy says that it does not reach what it stands before, or a server that it is away."""


class Speechless(UpstreamError):
    """An HTTP status without a JSON-RPC response: whatever stands before the server spoke in its stead."""

    def __init__(self, message: str, http: int) -> None:
        super().__init__(message)
        self.away = http in _NOBODY_BEHIND


@dataclass(slots=True)
class Breaker:
    """One server of one tenant: `closed` while it answers, `open` while it is left alone, `trying` for one call.

    A call is sent `with` it, and so is the way in which it learns of the server. An answer is an answer: a failed tool
    and a JSON-RPC error count as one. An HTTP status alone is none: it is told as the reason, and opens the breaker
    where it says that nobody is behind it.
    """

    server: str
    failures: int = 0
    reason: str = ""
    since: str = ""
    retry_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    trying: bool = False
    in_flight: int = 0
    heard: float = float("-inf")
    """When it last answered, or last failed, in seconds of the event loop's clock."""

    @property
    def open(self) -> bool:
        """Whether calls fail at once."""
        return self.failures >= FAILURES

    @property
    def stale(self) -> str | None:
        """Why what is known of the server may have changed, or None while it answers."""
        return self.reason if self.failures else None

    def __enter__(self) -> None:
        """Let a call through, or raise `Unavailable` or `RateLimited`; now and then one call tries again."""
        if self.in_flight >= MAX_IN_FLIGHT:
            raise RateLimited(
                f"{MAX_IN_FLIGHT} calls to {self.server} are in flight already", retry_after=1, quota=MAX_IN_FLIGHT
            )
        if self.failures >= FAILURES:
            left = self.retry_at - monotonic()
            if left > 0 or self.trying:
                raise Unavailable(f"{self.server} is away: {self.reason}", retry_after=max(1, round(left)))
            self.trying = True
        self.in_flight += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Note what came of a call; one whose caller went away tells nothing of the server."""
        self.in_flight -= 1
        self.trying = False
        if error is None:
            self._answered()
        elif isinstance(error, (Unavailable, InDoubt)):
            self._failed(error.message)
        elif isinstance(error, Speechless):
            self._failed(error.message, opens=error.away)
        elif isinstance(error, TauseError):
            self._answered()

    def brief(self) -> Brief:
        """Return the breaker as a question of the gateway's own meets it."""
        return Brief(self)

    def slow(self, reason: str) -> None:
        """Note that a short time was not enough: what is known is stale, and calls are sent as before."""
        self.in_flight -= 1
        self.trying = False
        self._failed(reason, opens=False)

    def _answered(self) -> None:
        self.heard = monotonic()
        if self.failures:
            self.failures, self.reason, self.since, self.pause = 0, "", "", FIRST_PAUSE_SECONDS

    def _failed(self, reason: str, *, opens: bool = True) -> None:
        self.heard = monotonic()
        if opens or self.open or self.failures + 1 < FAILURES:
            self.failures += 1
        self.since = self.since or datetime.now(UTC).isoformat(timespec="seconds")
        self.reason = reason
        if self.open:
            self.retry_at = self.heard + self.pause
            self.pause = min(self.pause * PAUSE_GROWTH, LAST_PAUSE_SECONDS)

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know: `{"state", "failures", "reason"?, "since"?, "retry_in"?}` (seconds)."""
        if not self.failures:
            return {"state": "closed", "failures": 0}
        told: dict[str, Any] = {"state": "open" if self.open else "closed", "failures": self.failures}
        told |= {"reason": self.reason, "since": self.since}
        if self.open:
            told["retry_in"] = max(0, round(self.retry_at - monotonic(), 1))
        return told


class Brief:
    """A question that is not waited for long: an answer that takes longer is no reason to leave the server alone."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> None:
        """Let the question through, as a call."""
        self._breaker.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Note what came of it."""
        if isinstance(error, DeadlineExceeded):
            self._breaker.slow(error.message)
        else:
            self._breaker.__exit__(kind, error, trace)


class Breakers:
    """The breakers of this gateway, by tenant and installation."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Breaker] = {}

    def forget(self, tenant: str) -> None:
        """Forget a tenant's servers."""
        for key in [key for key in self._kept if key[0] == tenant]:
            del self._kept[key]

    def of(self, tenant: str, server: str) -> Breaker:
        """Return a server's breaker."""
        key = (tenant, server)
        breaker = self._kept.get(key)
        if breaker is None:
            if len(self._kept) >= MAX_KEPT:
                self._forget_one()
            breaker = self._kept[key] = Breaker(server)
        return breaker

    def _forget_one(self) -> None:
        """Forget the oldest of those that know nothing, else the oldest."""
        quiet = (key for key, each in self._kept.items() if not each.failures and not each.in_flight)
        del self._kept[next(quiet, next(iter(self._kept)))]
