"""What goes on in a process for each tenant, so that it can be ended when the tenant is suspended or deleted."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from tausestack.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from tausestack.mcp.service import Service

Counts = dict[str, int]
"""How many of what, by name."""


class Keeper:
    """What a server keeps of tenants beside its schema's tables: files, another library's tables, work of its own.

    A subclass says what it has; what it leaves out is nothing. Everything may be asked again after a kill.
    """

    async def stop(self, service: Service, tenant: str) -> None:
        """End what goes on for a tenant by itself, and return when it has ended."""

    async def count(self, service: Service, tenant: str) -> Counts:
        """Return what is kept of a tenant, without making anything."""
        return {}

    async def erase(self, service: Service, tenant: str) -> None:
        """Delete all that is kept of a tenant."""


class TenantWork:
    """The calls of each tenant that are under way in this process."""

    def __init__(self) -> None:
        self._scopes: dict[str, set[anyio.CancelScope]] = {}
        self._shut: set[str] = set()
        self._ended = anyio.Event()

    @contextmanager
    def of(self, tenant: str) -> Generator[None]:
        """Do a tenant's work within: `Unavailable` where it was stopped, `NotFound` where the tenant is going."""
        if tenant in self._shut:
            raise NotFound("The tenant is being deleted")
        scope = anyio.CancelScope()
        self._scopes.setdefault(tenant, set()).add(scope)
        try:
            with scope:
                yield
        finally:
            scopes = self._scopes[tenant]
            scopes.discard(scope)
            if not scopes:
                del self._scopes[tenant]
            self._ended.set()
            self._ended = anyio.Event()
        if scope.cancelled_caught:
            raise Unavailable("The tenant's work was stopped")

    async def stop(self, tenant: str) -> int:
        """End a tenant's work and return how much there was, once it has ended: a thread is waited for."""
        scopes = self._scopes.get(tenant, set()).copy()
        for scope in scopes:
            scope.cancel()
        while scopes & self._scopes.get(tenant, set()):
            await self._ended.wait()
        return len(scopes)

    def shut(self, tenant: str) -> None:
        """Take no more work of a tenant."""
        self._shut.add(tenant)

    def unshut(self, tenant: str) -> None:
        """Take work of a tenant again."""
        self._shut.discard(tenant)
