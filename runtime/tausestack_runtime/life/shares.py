"""What each service keeps of a tenant and does for it, reached through its `/tenant`."""

from __future__ import annotations

from typing import Any

import orjson

from tausestack.errors import Unavailable, from_data
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.gateway.upstreams.wire import WireError
from tausestack_runtime.services import SERVICES
from tausestack_runtime.supervisor.control import ControlClient

SHARE_SECONDS = 60.0
"""How long one service may take to end a tenant's work, or to delete its share: a thread is waited for."""

WORKERS_FIRST = sorted(SERVICES, key=lambda spec: not spec.worker)
"""Who looks for work by itself has to stop before those that it would call."""
KEEPING = tuple(spec.name for spec in WORKERS_FIRST if not spec.stateless)
"""The services that keep something of tenants."""


class Shares:
    """Every service's share of a tenant."""

    def __init__(self, upstreams: Upstreams, control: ControlClient) -> None:
        self._upstreams = upstreams
        self._control = control

    async def stop(self, tenant: str) -> None:
        """End the tenant's work in every service that runs, and return once it has ended."""
        figures = await self._control.services()
        running = {one["name"] for one in figures["services"] if one["pid"]}
        for spec in WORKERS_FIRST:
            if spec.name in running:
                await self._ask(spec.name, tenant, "POST", "/stop")

    async def shut(self, tenant: str) -> None:
        """Have no service take more work of the tenant, and end what there is."""
        for service in KEEPING:
            await self._ask(service, tenant, "POST", "/shut")

    async def unshut(self, tenant: str) -> None:
        """Have services take work of a tenant of this name again."""
        for service in KEEPING:
            await self._ask(service, tenant, "POST", "/unshut")

    async def erase(self, tenant: str) -> dict[str, dict[str, int]]:
        """Delete every service's share and return what there was, by service."""
        found = {service: await self._ask(service, tenant, "DELETE", "") for service in KEEPING}
        return {service: object_at(reply, "kept") for service, reply in found.items() if reply["kept"]}

    async def count(self, tenant: str) -> dict[str, dict[str, int]]:
        """Return what the services keep of the tenant, by service."""
        found = {service: await self._ask(service, tenant, "GET", "") for service in KEEPING}
        return {service: object_at(reply, "kept") for service, reply in found.items() if reply["kept"]}

    async def _ask(self, service: str, tenant: str, method: str, path: str) -> dict[str, Any]:
        try:
            async with self._upstreams.own(service, tenant, method, f"/tenant{path}", seconds=SHARE_SECONDS) as reply:
                answer = as_object(orjson.loads(await reply.read())) or {}
        except (WireError, orjson.JSONDecodeError) as error:
            raise Unavailable(f"{service} did not deal with its share of the tenant: try again") from error
        if reply.status != 200:
            raise from_data(str(answer.get("detail", "")), answer)
        return answer
