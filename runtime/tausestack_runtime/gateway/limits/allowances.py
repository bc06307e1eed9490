"""The limits that there are, and which of them hold for a tenant: its plan's, under what is set for itself."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib.resources import files
from typing import Any

from tausestack.errors import InvalidArguments
from tausestack.raw import as_object

MINUTE = 60
MICROS = 1_000_000
"""What money is counted in: millionths of a US dollar."""
MOST = 2**53 - 1
"""The largest limit: what every JSON reader still takes for an exact integer."""
MOST_MONEY = 10**9
"""US dollars that no limit reaches."""
UNLIMITED = "unlimited"
SETTING = "limits"
"""Under which a tenant's settings keep its own limits."""


@dataclass(frozen=True)
class Kind:
    """One limit: what it bounds, and who counts that (a service of ours, else the gateway)."""

    name: str
    about: str
    unit: str
    """What is counted, in the words of the RateLimit header fields."""
    window: str = ""
    """`minute` or `month` where it is used up and comes back; "" where it is what is there at once."""
    counted_by: str = ""
    used_by: str = ""
    """The tool that uses it up, where it is one; "" where every call does, or none by itself."""
    beside: str = ""
    """What one might think is counted, and is not."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("calls_per_minute", "calls in any minute", "requests", "minute"),
        Kind(
            "lists_per_minute",
            "lists, and other answers of the gateway's own, in any minute",
            "requests",
            "minute",
            beside="calls are not counted",
        ),
        Kind("concurrent_calls", "calls under way at once", "concurrent-requests"),
        Kind("connections", "requests and streams open at once", "concurrent-requests"),
        Kind("runs", "runs of agents a month", "runs", "month", "agents", "agents/run"),
        Kind("tokens_per_month", "tokens of language models a month", "tokens", "month"),
        Kind("cost_per_month", "US dollars of language models a month", "micro-usd", "month"),
        Kind(
            "storage_bytes",
            "bytes of stored documents",
            "bytes",
            "",
            "storage",
            "storage/put_json",
            "what runs, threads and servers' own folders hold is not counted",
        ),
        Kind("installed_servers", "servers that it installed itself", "servers", "", "registry", "registry/install"),
        Kind("users", "people, disabled ones too", "users", "", "auth", "auth/create_user"),
        Kind("api_keys", "API keys that are good", "keys", "", "auth", "auth/create_api_key"),
    )
}
"""Every limit by its name, in the order in which they are shown."""

MONEY = "cost_per_month"


@dataclass(slots=True)
class Limits:
    """What one tenant may use; a limit that is not there is none. Money is in millionths of a US dollar."""

    plan: Mapping[str, int]
    own: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    """What is set for the tenant itself; None: unlimited whatever the plan says."""

    amounts: dict[str, int] = field(init=False)
    """What holds, by name."""
    by_service: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]], init=False)
    """The limits that services count, by the service that does."""

    def __post_init__(self) -> None:
        found = {**self.plan, **self.own}
        self.amounts = {name: amount for name, amount in found.items() if amount is not None}
        for name, amount in self.amounts.items():
            if KINDS[name].counted_by:
                self.by_service.setdefault(KINDS[name].counted_by, {})[name] = amount

    def source(self, name: str) -> str:
        """Return who says what holds: `tenant` or `plan`."""
        return "tenant" if name in self.own else "plan"


def limits_of(plan: str, settings: Mapping[str, Any]) -> Limits:
    """Return the limits of a tenant by its billing plan and its settings; a limit that is not known is left out."""
    own = as_object(settings.get(SETTING)) or {}
    kept = {
        name: None if value == UNLIMITED else amount_of(name, value) for name, value in own.items() if name in KINDS
    }
    return Limits(_plans().get(plan, {}), kept)


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return limits that somebody sets as they are kept, None for one that is unset.

    Raises `InvalidArguments` in one line for one that is not there or has no amount.
    """
    for name in given:
        if name not in KINDS:
            known = ", ".join(KINDS)
            raise InvalidArguments(f"There is no limit '{name[:60]}': there are {known}")
    return {name: None if value is None else _kept(name, value) for name, value in given.items()}


def amount_of(name: str, value: Any) -> int:
    """Return a limit's amount as it is counted, or raise `InvalidArguments` where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _malformed(name)
    if name == MONEY:
        return _micros(str(value))
    if not isinstance(value, int) or not 0 <= value <= MOST:
        raise _malformed(name)
    return value


def shown(name: str, amount: int) -> int | float:
    """Return an amount as people see it: money in US dollars."""
    return float(Decimal(amount) / MICROS) if name == MONEY else amount


def _kept(name: str, value: Any) -> Any:
    if value != UNLIMITED:
        amount_of(name, value)
    return value


def _micros(text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise _malformed(MONEY) from error
    if not amount.is_finite() or not 0 <= amount < MOST_MONEY or amount != round(amount, 6):
        raise _malformed(MONEY)
    return int(amount * MICROS)


def _malformed(name: str) -> InvalidArguments:
    amount = "US dollars with up to six decimals" if name == MONEY else "a whole number from 0"
    return InvalidArguments(f"{name} has to be {amount}, '{UNLIMITED}', or null for what the plan says")


@lru_cache(maxsize=1)
def _plans() -> dict[str, dict[str, int]]:
    text = (files("tausestack_runtime.gateway.limits") / "plans.toml").read_text(encoding="utf-8")
    return {
        plan: {name: amount_of(name, value) for name, value in limits.items()}
        for plan, limits in tomllib.loads(text).items()
    }
