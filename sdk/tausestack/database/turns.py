"""Whose turn it is to write for a tenant."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import anyio


@dataclass
class _Turn:
    # A semaphore, not a lock: a transaction may end in another task than it began in.
    free: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(1, max_value=1, fast_acquire=True))
    wanted: int = 0
    # The task itself: the id of one that is gone may come back as another's.
    holder: asyncio.Task[Any] | None = None


class Turns:
    """One writer a tenant, first come first served.

    Writers wait here and not in a worker thread or on a pooled connection, which the one they wait for needs to end.
    """

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    async def take(self, tenant: str) -> None:
        """Wait for the tenant's turn; a task that holds it already gets an error instead of waiting for itself."""
        turn = self._turns.setdefault(tenant, _Turn())
        task = asyncio.current_task()
        if turn.holder is task and task is not None:
            raise RuntimeError(f"this task is already writing for the tenant '{tenant}': join that transaction")
        turn.wanted += 1
        try:
            await turn.free.acquire()
        except BaseException:
            self._leave(tenant, turn)
            raise
        turn.holder = task

    def give_back(self, tenant: str) -> None:
        """End the turn that was taken."""
        turn = self._turns[tenant]
        turn.holder = None
        turn.free.release()
        self._leave(tenant, turn)

    def _leave(self, tenant: str, turn: _Turn) -> None:
        turn.wanted -= 1
        if not turn.wanted:
            del self._turns[tenant]
