"""What every gateway holds of a tenant: its calls, its connections, its caches; ended and forgotten at all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import orjson

from tausestack.database import TenantDatabases
from tausestack.errors import NotFound, TauseError, Unavailable
from tausestack_runtime.gateway.installed import not_found
from tausestack_runtime.gateway.limits.limiter import Connections
from tausestack_runtime.gateway.running import Running
from tausestack_runtime.gateway.siblings import Siblings
from tausestack_runtime.gateway.snapshots import Snapshots

Order = Literal["stop", "shut", "unshut"]
ORDERS: dict[str, Order] = {"stop": "stop", "shut": "shut", "unshut": "unshut"}
PATH = "/siblings"

END_SECONDS = 15.0
"""How long a tenant's calls and streams may take to end once they were told to."""
LOOK_SECONDS = 0.1


class Gateways:
    """This gateway's hold on tenants, and the way to the others'."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        running: Running,
        opened: Connections,
        databases: TenantDatabases,
        siblings: Siblings,
        forget: Callable[[str], Any],
    ) -> None:
        """`forget` drops what is cached of a tenant here."""
        self._snapshots = snapshots
        self._running = running
        self._opened = opened
        self._databases = databases
        self._siblings = siblings
        self._forget = forget

    async def everywhere(self, order: Order, tenant: str) -> None:
        """Have every gateway carry out an order, and return once no call or stream of the tenant is left at any.

        Raises `Unavailable` where a gateway does not answer, or something does not end.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + END_SECONDS
        while True:
            left = await self.here(order, tenant)
            for number in self._siblings.others:
                left += await self._there(number, order, tenant)
            if not left or order == "unshut":
                return
            if loop.time() > give_up:
                raise Unavailable(f"{left} calls or streams of the tenant do not end: try again")
            await asyncio.sleep(LOOK_SECONDS)

    async def here(self, order: Order, tenant: str) -> int:
        """Carry out an order at this gateway; return how many calls and streams of the tenant there still are."""
        if order == "unshut":
            self._databases.unshut(tenant)
            return 0
        self._running.end(tenant, await self._why(tenant))
        if order == "shut":
            self._databases.shut(tenant)
        left = self._running.of(tenant) + self._opened.held(tenant)
        if not left:
            await self._forget(tenant)
        return left

    async def _why(self, tenant: str) -> TauseError:
        """Return what the tenant's calls end with: what its next one would be refused with."""
        self._snapshots.expire()
        try:
            await self._snapshots.tenant(tenant)
        except Unavailable:
            raise
        except TauseError as error:
            return error
        return not_found()

    async def _there(self, number: int, order: Order, tenant: str) -> int:
        if self._siblings.board.connections(number) is None:
            return 0  # it is not there; the one that takes its place begins with nothing
        answer = await self._siblings.ask(number, f"{PATH}/{order}/{tenant}")
        if answer is None:
            raise Unavailable(f"gateway {number} does not answer: try again")
        return int(orjson.loads(answer)["left"])


def parse_path(path: str) -> tuple[Order, str]:
    """Return the order and the tenant in the path of another gateway's request, or raise `NotFound`."""
    parts = path.removeprefix(f"{PATH}/").split("/")
    order = ORDERS.get(parts[0])
    if order is None or len(parts) != 2:
        raise NotFound("There is no such order")
    return order, parts[1]
