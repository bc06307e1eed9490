"""Telling those who follow a run, in this process, that something happened in it."""

from __future__ import annotations

from collections import defaultdict

import anyio


class Bell:
    """Wakes whoever waits for a run's next event, or for the run to stop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[str, str], dict[anyio.Event, bool]] = defaultdict(dict)

    def ring(self, tenant: str, run: str, *, stops: bool = True) -> None:
        """Wake all who wait for a run; where it goes on (`stops` is false) those who wait for its stop sleep on."""
        waiting = self._waiting.get((tenant, run), {})
        for event, any_ring in list(waiting.items()):
            if stops or any_ring:
                event.set()
                self._gone(tenant, run, event)

    async def wait(self, tenant: str, run: str, seconds: float, *, for_stop: bool = False) -> bool:
        """Wait for the next ring, or for so long: another process may have written. Returns whether it rang."""
        event = anyio.Event()
        self._waiting[tenant, run][event] = not for_stop
        try:
            with anyio.move_on_after(seconds):
                await event.wait()
            return event.is_set()
        finally:
            self._gone(tenant, run, event)

    def _gone(self, tenant: str, run: str, event: anyio.Event) -> None:
        waiting = self._waiting.get((tenant, run))
        if waiting is not None:
            waiting.pop(event, None)
            if not waiting:
                del self._waiting[tenant, run]
