"""What the agents keep of a tenant beside their tables, and how its runs end with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tausestack.database import TenantDatabases
from tausestack.errors import NotFound
from tausestack.mcp import Keeper, Service
from tausestack_agents import store
from tausestack_agents.apart.rooms import Rooms
from tausestack_agents.bell import Bell
from tausestack_agents.checkpoints import Checkpoints
from tausestack_agents.dispatch import Dispatch
from tausestack_agents.domain import Decision
from tausestack_agents.failpoints import passing
from tausestack_agents.gateway import GatewayClient
from tausestack_agents.timers import Timers
from tausestack_agents.worker import Worker

DECIDE_SECONDS = 1.0
"""Within this a decision is written, once the run was noted as having work."""


@dataclass(slots=True)
class State:
    """What the service's calls share; without a gateway it has no worker, and starts no runs."""

    databases: TenantDatabases
    bell: Bell
    dispatch: Dispatch
    checkpoints: Checkpoints
    timers: Timers
    worker: Worker | None
    gateway: GatewayClient | None = None
    rooms: Rooms | None = None
    """Where agents' own code runs; None where there is none, or it runs here."""

    async def decide(self, tenant: str, run: str, about: str, decision: Decision) -> bool:
        """Keep a decision on what a run waits for, and have it looked at; False where it has ended.

        First the work, as when a run is started: a decision without work would wait for ever. Should this process die
        in between, the run is looked at a little later.
        """
        passing("decide.before")
        await self.dispatch.add(tenant, run, after=DECIDE_SECONDS)
        kept = await self.databases.write(tenant, lambda db: store.decide(db, run, about, decision.as_json()))
        passing("decide.between")
        if not kept:
            return False
        await self.make_due(tenant, run)
        passing("decide.after")
        return True

    async def make_due(self, tenant: str, run: str) -> None:
        """Have a run looked at: by this process's worker at once, where it has one."""
        await self.dispatch.add(tenant, run)
        if self.worker is not None:
            self.worker.wake()


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
        await state.timers.strike(tenant)
