"""The RateLimit header fields (draft-ietf-httpapi-ratelimit-headers-10), of a refusal and of what was let through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from tausestack.limits import month_end
from tausestack_runtime.gateway.limits.allowances import KINDS, MICROS, MINUTE, MONEY

Headers = list[tuple[bytes, bytes]]


def headers_of(name: str, quota: int, left: int, seconds: int) -> Headers:
    """Return the fields that tell how a limit stands: what is left of it, for how many seconds."""
    policy = _policy(name, quota, _window(KINDS[name].window))
    return [(b"ratelimit-policy", policy), (b"ratelimit", f'"{name}";r={left};t={seconds}'.encode())]


def refusal_headers(data: Mapping[str, Any]) -> Headers:
    """Return the fields of a refusal by the data of its error; none where it is for no limit of a tenant's own."""
    name, quota, seconds = data.get("limit"), data.get("quota"), data.get("retry_after")
    if name not in KINDS or not isinstance(quota, (int, float)) or not isinstance(seconds, int):
        return []
    scale = MICROS if name == MONEY else 1
    return headers_of(str(name), round(quota * scale), round(float(data.get("left", 0)) * scale), seconds)


@lru_cache(4096)
def _policy(name: str, quota: int, seconds: int) -> bytes:
    unit = KINDS[name].unit
    named = "" if unit == "requests" else f';qu="{unit}"'
    window = f";w={seconds}" if seconds else ""
    return f'"{name}";q={quota}{named}{window}'.encode()


def _window(window: str) -> int:
    """Return the seconds of a limit's window, 0 where it has none."""
    if window == "minute":
        return MINUTE
    if window == "month":
        end = month_end(datetime.now(UTC))
        start = (end - timedelta(days=1)).replace(day=1)
        return int((end - start).total_seconds())
    return 0
