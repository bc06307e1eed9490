"""A feed of which tenants changed, for whoever keeps a snapshot of what this process owns.

The feed lives as long as the process. A follower that asks with another process's boot id is told to start anew, so
nothing has to be written to disk for a revocation to be seen after a crash.
"""

from __future__ import annotations

import secrets

from typing_extensions import TypedDict


class Changes(TypedDict):
    """What happened since a follower last asked; `reset` means: drop everything that you hold."""

    boot: str
    epoch: int
    reset: bool
    tenants: list[str]


class ChangeFeed:
    """Counts changes and remembers the last of each tenant."""

    def __init__(self) -> None:
        self._boot = secrets.token_hex(8)
        self._epoch = 0
        self._last: dict[str, int] = {}

    def touch(self, tenant: str) -> None:
        """Note that a tenant changed; call it after the commit, before the reply."""
        self._epoch += 1
        self._last[tenant] = self._epoch

    def since(self, boot: str, epoch: int) -> Changes:
        """Return what changed after an epoch of a boot."""
        reset = boot != self._boot
        changed = [] if reset else sorted(tenant for tenant, last in self._last.items() if last > epoch)
        return Changes(boot=self._boot, epoch=self._epoch, reset=reset, tenants=changed)
