"""Lines as tests write them, and where a ledger keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tausestack_runtime.ledger import Line

KEY = b"a key that seals the heads" + b"!" * 6


def KEYS() -> tuple[bytes, ...]:  # noqa: N802 what a ledger asks for its keys
    """Return the keys that hold."""
    return (KEY,)


def line(call: str, **changes: Any) -> Line:
    """Return a line of acme's."""
    values: dict[str, Any] = {
        "tenant": "acme",
        "kind": "result",
        "at": "2026-11-23T10:00:00+00:00",
        "principal": "key:1",
        "server": "billing",
        "tool": "list_plans",
        "outcome": "done",
        "bytes_in": 10,
        "bytes_out": 100,
        "duration_us": 1000,
        "price": "standard",
        "amount_minor": 100,
        "currency": "COP",
        "price_version": "1",
    }
    return Line(call=call, **{**values, **changes})


def file_of(data: Path, tenant: str = "acme") -> Path:
    """Return where a tenant's chain lies."""
    return data / "tenants" / tenant / "ledger.jsonl"
