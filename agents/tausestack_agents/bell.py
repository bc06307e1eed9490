"""Telling those who follow a run, in this process, that something happened in it."""

from __future__ import annotations

from collections import defaultdict

import anyio


class Bell:
    """Wakes whoever waits for a run's next event."""

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[str, str], set[anyio.Event]] = defaultdict(set)

    def ring(self, tenant: str, run: str) -> None:
        """Wake all who wait for a run."""
        for event in self._waiting.pop((tenant, run), set()):
            event.set()

    async def wait(self, tenant: str, run: str, seconds: float) -> None:
        """Wait for the next ring, or for so long: another process may have written."""
        event = anyio.Event()
        self._waiting[tenant, run].add(event)
        with anyio.move_on_after(seconds):
            await event.wait()
        waiting = self._waiting.get((tenant, run))
        if waiting is not None:
            waiting.discard(event)
            if not waiting:
                del self._waiting[tenant, run]
