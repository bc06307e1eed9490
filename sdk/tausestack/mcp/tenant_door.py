"""`/tenant` of every server: by it the gateway ends a tenant's work there, and has deleted what is kept of it.

It takes the gateway's own assertion alone, and works on the tenant that this names. No server has to do anything for
it: what its schema keeps is known, and what it keeps beside that its keepers say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tausestack.errors import Forbidden, InternalError, TauseError, to_problem
from tausestack.mcp.tenant_work import Counts, Keeper
from tausestack.scopes import SYSTEM

if TYPE_CHECKING:
    from tausestack.mcp.service import Service

GATEWAY = "gateway"
"""The principal that the gateway acts as on its own account."""

Handler = Callable[[str], Awaitable[dict[str, Any]]]


def tenant_routes(service: Service, keepers: Sequence[Keeper]) -> list[BaseRoute]:
    """Return the routes of a service's `/tenant`."""
    share = TenantShare(service, keepers)
    handlers: list[tuple[str, str, Handler]] = [
        ("POST", "/tenant/stop", share.stop),
        ("POST", "/tenant/shut", share.shut),
        ("POST", "/tenant/unshut", share.unshut),
        ("GET", "/tenant", share.count),
        ("DELETE", "/tenant", share.erase),
    ]
    return [Route(path, _endpoint(service, handler), methods=[method]) for method, path, handler in handlers]


class TenantShare:
    """A service's share of a tenant."""

    def __init__(self, service: Service, keepers: Sequence[Keeper]) -> None:
        self._service = service
        self._keepers = keepers

    async def stop(self, tenant: str) -> dict[str, Any]:
        """End the tenant's calls, tasks and whatever else goes on here; return once they have ended."""
        tasks = self._service.tasks
        live = [] if tasks is None else list(tasks.live(tenant).values())
        for run in live:
            run.cancel()
        for run in live:
            await run.ended.wait()
        stopped = await self._service.work.stop(tenant)
        for keeper in self._keepers:
            await keeper.stop(self._service, tenant)
        return {"stopped": stopped + len(live)}

    async def shut(self, tenant: str) -> dict[str, Any]:
        """Take no more work of the tenant, and end what there is: it is about to be deleted."""
        self._service.work.shut(tenant)
        stopped = await self.stop(tenant)
        if self._service.databases is not None:
            self._service.databases.shut(tenant)
        # What looks for work by itself may have begun some in the meantime, and can't from now on.
        await self.stop(tenant)
        return stopped

    async def unshut(self, tenant: str) -> dict[str, Any]:
        """Take work of a tenant of this name again: the one that was deleted is gone."""
        self._service.work.unshut(tenant)
        if self._service.databases is not None:
            self._service.databases.unshut(tenant)
        return {}

    async def count(self, tenant: str) -> dict[str, Any]:
        """Return what is kept of the tenant: `{"kept": {table or thing: how many}}`."""
        return {"kept": await self._count(tenant)}

    async def erase(self, tenant: str) -> dict[str, Any]:
        """Delete all that is kept of the tenant and return what that was, as `count` does."""
        found = await self._count(tenant)
        for keeper in self._keepers:
            await keeper.erase(self._service, tenant)
        if (whole := self._whole()) is not None:
            await whole.erase(tenant)
        return {"kept": found}

    async def _count(self, tenant: str) -> Counts:
        whole = self._whole()
        found: Counts = {} if whole is None else await whole.count(tenant)
        for keeper in self._keepers:
            found |= await keeper.count(self._service, tenant)
        return {name: number for name, number in found.items() if number}

    def _whole(self) -> Any:
        if self._service.databases is None:
            return None
        # A server without a schema never needs SQLAlchemy, and may not have it.
        from tausestack.database.whole import Whole

        return Whole(self._service.databases)


def _endpoint(service: Service, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            principal = service.authenticate(request.headers)
            if principal.id != GATEWAY or SYSTEM not in principal.scopes:
                raise Forbidden("This is for the gateway alone", scope=SYSTEM)
            return JSONResponse(await handler(principal.tenant))
        except TauseError as error:
            return JSONResponse(to_problem(error), error.status)
        except Exception:  # noqa: BLE001 whatever went wrong is logged, and its text stays here
            structlog.get_logger(service.name).exception("a tenant's share could not be dealt with")
            return JSONResponse(to_problem(InternalError()), InternalError.status)

    return endpoint
