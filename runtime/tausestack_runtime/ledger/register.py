"""Which tenants have a chain: a chain of its own, so that a file that is gone can be told from one that never was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack_runtime.ledger.chain import Chain, row
from tausestack_runtime.ledger.line import Line

FILE = "ledgers.jsonl"
_BEGUN, _DROPPED = "begun", "dropped"


def register_of(data: Path) -> Path:
    """Return where the register lies."""
    return data / "tenants" / SYSTEM_TENANT / FILE


class Register:
    """The register as its writer has it, in the writer's turn."""

    def __init__(self, data: Path, keys: Sequence[bytes], gateway: int) -> None:
        self._chain = Chain(register_of(data), SYSTEM_TENANT, keys, gateway)
        self._known: set[str] = set()
        self._read = 0

    def holds(self, tenant: str) -> bool:
        """Return whether a tenant's chain has begun and was not dropped."""
        self._read, lines = self._chain.since(self._read)
        take(self._known, (raw for _, raw in lines))
        return name_of(tenant) in self._known

    def note(self, tenant: str, *, begun: bool) -> None:
        """Note that a tenant's chain begins, or was dropped with all that the tenant had."""
        now = datetime.now(UTC).isoformat()
        kind = _BEGUN if begun else _DROPPED
        self._chain.refresh()
        self._chain.write([row(Line(tenant=SYSTEM_TENANT, call="", kind=kind, at=now, tool=name_of(tenant)))])

    def flush(self) -> None:
        """Have the file on the disk."""
        self._chain.flush()

    def close(self) -> None:
        """Close the file."""
        self._chain.close()


def name_of(tenant: str) -> str:
    """Return what a tenant goes by here, where lines are for ever: one that is deleted leaves no name behind."""
    return hashlib.sha256(tenant.encode()).hexdigest()


def take(known: set[str], lines: Iterable[bytes]) -> None:
    """Add to the tenants that have a chain, or take from them, what some lines say."""
    for raw in lines:
        try:
            found = as_object(orjson.loads(raw)) or {}
        except orjson.JSONDecodeError:
            continue  # damage is for the check to tell
        if found.get("kind") == _BEGUN:
            known.add(str(found.get("tool")))
        elif found.get("kind") == _DROPPED:
            known.discard(str(found.get("tool")))
