"""When keys were last used: noted in passing, and told to the auth service some seconds later."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import structlog

from tausestack.errors import NotFound, TauseError
from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.gateway.snapshots import SystemCall

PAUSE_SECONDS = 2.0
"""How long uses gather before they are told."""
AGAIN_SECONDS = 60.0
"""How often a key that is used all the time is told of."""

logger = structlog.get_logger("gateway")


class KeyUses:
    """The uses of keys that were not told yet. A gateway that ends leaves the last few untold."""

    def __init__(self, system: SystemCall) -> None:
        self._system = system
        self._used: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None

    def note(self, tenant: str, key: str) -> None:
        """Note that a key was used; costs no more than a look at the clock."""
        self._used[tenant, key] = time.time()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._tell)

    def forget(self, tenant: str) -> None:
        """Tell nothing more of a tenant's keys."""
        for noted in (self._used, self._told):
            for key in [key for key in noted if key[0] == tenant]:
                del noted[key]

    async def aclose(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})

    def _tell(self) -> None:
        self._timer = None
        since = time.time() - AGAIN_SECONDS
        due = {key: at for key, at in self._used.items() if self._told.get(key, 0.0) < since}
        if due and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._told_of(due))

    async def _told_of(self, due: dict[tuple[str, str], float]) -> None:
        for tenant in {tenant for tenant, _ in due}:
            keys = {key: at for (owner, key), at in due.items() if owner == tenant}
            said = {key: datetime.fromtimestamp(at, UTC).isoformat() for key, at in keys.items()}
            try:
                await self._system("auth", "note_used", SYSTEM_TENANT, {"tenant": tenant, "keys": said})
            except NotFound:
                self.forget(tenant)
                continue
            except TauseError as error:
                # They stay noted, and are told with the next.
                logger.info("uses of keys are told later", reason=error.message)
                return
            for key, at in keys.items():
                self._told[tenant, key] = at
                if self._used.get((tenant, key)) == at:
                    del self._used[tenant, key]
        since = time.time() - AGAIN_SECONDS
        self._told = {key: at for key, at in self._told.items() if at > since}
