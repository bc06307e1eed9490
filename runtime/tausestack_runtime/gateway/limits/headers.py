"""The RateLimit header fields (draft-ietf-httpapi-ratelimit-headers-10), of a refusal and of what was let through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tausestack.limits import month_end
from tausestack_runtime.gateway.limits.allowances import KINDS, MICROS, MINUTE, MONEY

Headers = list[tuple[bytes, bytes]]


def headers_of(name: str, quota: int, left: int, seconds: int) -> Headers:
    """Return the fields that tell how a limit stands: what is left of it, for how many seconds."""
    kind = KINDS[name]
    unit = "" if kind.unit == "requests" else f';qu="{kind.unit}"'
    policy = f'"{name}";q={quota}{unit}{_window(kind.window)}'
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", f'"{name}";r={left};t={seconds}'.encode())]


def refusal_headers(data: Mapping[str, Any]) -> Headers:
    """Return the fields of a refusal by the data of its error; none where it is for no limit of a tenant's own."""
    name, quota, seconds = data.get("limit"), data.get("quota"), data.get("retry_after")
    if name not in KINDS or not isinstance(quota, (int, float)) or not isinstance(seconds, int):
        return []
    scale = MICROS if name == MONEY else 1
    return headers_of(str(name), round(quota * scale), round(float(data.get("left", 0)) * scale), seconds)


def _window(window: str) -> str:
    if window == "minute":
        return f";w={MINUTE}"
    if window == "month":
        end = month_end(datetime.now(UTC))
        start = (end - timedelta(days=1)).replace(day=1)
        return f";w={int((end - start).total_seconds())}"
    return ""
