"""Being over a limit: the one form in which it is told, whoever counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tausestack.errors import RateLimited

STOCK_RETRY_SECONDS = 60
"""When to look again at what no time brings back, such as storage: somebody has to make room, or raise the limit."""


def exceeded(
    limit: str, about: str, quota: float, used: float, *, asked: float | None = None,
    retry_after: int = STOCK_RETRY_SECONDS,
) -> RateLimited:  # fmt: skip
    """Return the refusal for a limit: `data` has limit, quota, used, left, and retry_after in seconds.

    Of a limit of nothing no time brings anything back: it says so, and no time.
    """
    if quota <= 0:
        return RateLimited(
            f"Not available to this tenant: {limit} is 0, by its plan or its operator, and no wait changes that",
            limit=limit,
            quota=quota,
            used=used,
            left=0,
        )
    more = "" if asked is None else f", and this asks for {_plain(asked)}"
    return RateLimited(
        f"Over the limit {limit}: {_plain(used)} of {_plain(quota)} {about} are used{more}",
        limit=limit,
        quota=quota,
        used=used,
        left=max(quota - used, 0),
        retry_after=retry_after,
    )


def month(now: datetime) -> str:
    """Return the calendar month of a time, as in `2026-07`."""
    return f"{now.astimezone(UTC):%Y-%m}"


def month_end(now: datetime) -> datetime:
    """Return when the next calendar month begins (UTC)."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def until_month_end(now: datetime) -> int:
    """Return the seconds until the next calendar month, at least 1."""
    return max(1, -int((now - month_end(now)) // timedelta(seconds=1)))


def _plain(amount: float) -> str:
    return f"{amount:f}".rstrip("0").rstrip(".") if isinstance(amount, float) else str(amount)
