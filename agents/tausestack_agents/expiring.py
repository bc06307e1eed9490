"""Approvals that expire: the run that waits for one asks again, and the gateway, which keeps them, says what holds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from tausestack.database import TenantDatabases
from tausestack_agents import store
from tausestack_agents.domain import UNDER_WAY, Decision, subject

KIND = "approval"
"""What its timers are called; their ids are runs'."""
SLACK_SECONDS = 1.0
"""After an approval has expired, for a decision that was taken at the last moment to arrive."""
AGAIN_SECONDS = 5.0


def due(interrupt: dict[str, Any]) -> float | None:
    """Return when a run that waits has to be looked at (seconds since the epoch), None where it waits for ever."""
    expires_at = interrupt.get("expires_at")
    return None if expires_at is None else datetime.fromisoformat(expires_at).timestamp() + SLACK_SECONDS


class Expiries:
    """Lets runs go on whose approval has expired."""

    def __init__(self, databases: TenantDatabases, wake: Callable[[str, str], Awaitable[None]]) -> None:
        """`wake` has a run looked at by a worker."""
        self._databases = databases
        self._wake = wake

    async def look(self, tenant: str, run: str) -> float | None:
        """Free a run where its approval has expired; return when to look again. Raises `LookupError` without it."""
        async with self._databases.transaction(tenant) as db:
            row = await store.find_run(db, run)
            if row is None:
                raise LookupError(run)
            if row.status in UNDER_WAY:
                return time.time() + AGAIN_SECONDS
            interrupt: dict[str, Any] = (row.interrupt if row.status == "interrupted" else None) or {}
            when = due(interrupt)
            if when is None or await store.decision_on(db, row) is not None:
                return None
            if when > time.time():
                return when
            asking_again = Decision(approve=True, approval=interrupt["approval"], asks_again=True)
            await store.decide(db, run, subject(interrupt), asking_again.as_json())
        await self._wake(tenant, run)
        return None
