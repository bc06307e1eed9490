"""What the agents keep of a tenant beside their tables, and how its runs end with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tausestack.database import TenantDatabases
from tausestack.errors import NotFound
from tausestack.mcp import Keeper, Service
from tausestack_agents import store
from tausestack_agents.bell import Bell
from tausestack_agents.checkpoints import Checkpoints
from tausestack_agents.dispatch import Dispatch
from tausestack_agents.worker import Worker


@dataclass(slots=True)
class State:
    """What the service's calls share; without a gateway it has no worker, and starts no runs."""

    databases: TenantDatabases
    bell: Bell
    dispatch: Dispatch
    checkpoints: Checkpoints
    worker: Worker | None


class RunsKeeper(Keeper):
    """Ends runs; counts and deletes the graph's checkpoints."""

    async def stop(self, service: Service, tenant: str) -> None:
        """End a tenant's runs that are under way as cancelled; those that wait for a person go on waiting."""
        state: State = service.state
        if await state.databases.exists(tenant):
            with suppress(NotFound):  # it is shut for being deleted: how its runs ended matters no more
                async with state.databases.transaction(tenant) as db:
                    await store.cancel_all(db)
            await state.dispatch.strike(tenant)
        if state.worker is not None:
            await state.worker.stop_tenant(tenant)

    async def count(self, service: Service, tenant: str) -> dict[str, int]:
        """Return how many checkpoints there are."""
        state: State = service.state
        return {"checkpoints": await state.checkpoints.count(tenant)}

    async def erase(self, service: Service, tenant: str) -> None:
        """Delete the tenant's checkpoints."""
        state: State = service.state
        await state.checkpoints.erase(tenant)
