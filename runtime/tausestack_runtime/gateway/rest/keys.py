"""`/api/v2/keys…`: how the operator rotates the stack's keys; the supervisor keeps them, services seal anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tausestack.errors import InvalidArguments
from tausestack.names import SYSTEM_TENANT, check_tenant
from tausestack_runtime.gateway.installed import not_found
from tausestack_runtime.gateway.upstreams.routes import Upstreams
from tausestack_runtime.services import SERVICES
from tausestack_runtime.supervisor.control import ControlClient

RESEAL = "reseal"
"""The kit's tool of every service that seals."""

Tenants = Callable[[], Awaitable[list[str]]]


class KeyRotation:
    """The steps of a rotation; each may be repeated, so that one that was broken off is gone on with."""

    def __init__(
        self, control: ControlClient, upstreams: Upstreams, reseal_ledger: Callable[[], Awaitable[None]]
    ) -> None:
        self._control = control
        self._upstreams = upstreams
        self._reseal_ledger = reseal_ledger

    async def answer(self, method: str, path: str, body: dict[str, Any], tenants: Tenants) -> dict[str, Any]:
        """Return the answer to a request below `keys`; `tenants` names every tenant there is.

        `GET keys` · `POST keys/master` begins a rotation or finds the one under way · `POST keys/tenants/{tenant}`
        seals a tenant's data keys by the current master, with `{"renew": true}` its values by a data key of their own,
        and says how many are left · `POST keys/master/retire` ends the rotation, with `{"at_once": true}` for what was
        signed as well · `POST keys/signing`, with `{"retire": kid}` to refuse one at once.
        """
        step = path.removeprefix("keys").strip("/")
        if method == "GET" and not step:
            return await self._control.keys("keys")
        if method != "POST":
            raise not_found()
        if step == "master":
            return await self._control.keys("begin_master")
        if step == "signing":
            retire = body.get("retire")
            if retire is not None and not isinstance(retire, str):
                raise InvalidArguments("retire is the kid of a signing key")
            return await self._control.keys("rotate_signing", retire=retire)
        if step == "master/retire":
            return await self._retire(tenants, at_once=body.get("at_once") is True)
        if step.startswith("tenants/"):
            tenant = step.removeprefix("tenants/")
            if tenant != SYSTEM_TENANT and check_tenant(tenant) not in await tenants():
                raise not_found()
            return await self._reseal(tenant, renew=body.get("renew") is True)
        raise not_found()

    async def _retire(self, tenants: Tenants, *, at_once: bool) -> dict[str, Any]:
        """Forget the older masters, having made sure, tenant by tenant, that they seal nothing any more."""
        current = (await self._control.keys("keys"))["masters"][0]
        for tenant in [SYSTEM_TENANT, *await tenants()]:
            await self._reseal(tenant, renew=False)
        await self._reseal_ledger()
        return await self._control.keys("retire_master", current=current, at_once=at_once)

    async def _reseal(self, tenant: str, *, renew: bool) -> dict[str, Any]:
        done = left = 0
        for service in (spec.name for spec in SERVICES if spec.seals is not None):
            found = await self._upstreams.system(service, RESEAL, tenant, {"renew": renew})
            done, left = done + found["done"], left + found["left"]
        return {"done": done, "left": left}
