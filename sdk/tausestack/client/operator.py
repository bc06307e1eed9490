"""The operator's client: tenants and their keys, and nothing inside them."""

from __future__ import annotations

from typing import Any

from tausestack.client.client import DEFAULT_URL
from tausestack.client.wire import PATIENCE_SECONDS, Wire, WireClient, never, path_of
from tausestack.names import SYSTEM_TENANT, check_tenant
from tausestack.raw import given

_ALL_SECONDS = 3600.0
"""How long what goes through every tenant may take."""


class Operator(WireClient):
    """Makes tenants and their keys; a tenant's admin key may ask for the keys of its own tenant too."""

    def __init__(self, operator_key: str, url: str = DEFAULT_URL, *, patience: float = PATIENCE_SECONDS) -> None:
        super().__init__(Wire(url, operator_key, patience=patience))

    async def create_tenant(self, tenant: str, *, name: str | None = None, plan: str | None = None) -> dict[str, Any]:
        """Make a tenant and return `{"tenant": …, "api_key": …}`: an admin key, shown this once."""
        body = given({"id": check_tenant(tenant), "name": name, "plan": plan})
        return await self.wire.request("POST", path_of("tenants"), body=body, repeatable=never)

    async def tenants(self) -> list[dict[str, Any]]:
        """Return every tenant."""
        found: dict[str, Any] = await self.wire.request("GET", path_of("tenants"))
        return found["tenants"]

    async def tenant(self, tenant: str) -> dict[str, Any]:
        """Return one tenant."""
        return await self.wire.request("GET", path_of("tenants", check_tenant(tenant)))

    async def change_tenant(self, tenant: str, *, legacy_anonymous: bool) -> dict[str, Any]:
        """Set whether earlier clients of a tenant come in without a credential, and return the tenant."""
        body = {"legacy_anonymous": legacy_anonymous}
        return await self.wire.request("PATCH", path_of("tenants", check_tenant(tenant)), body=body)

    async def limits(self, tenant: str) -> dict[str, Any]:
        """Return a tenant's limits by name: `{"limit", "used", "left", "resets_at", "set_by", "about"}`.

        Where `used` is None, `unknown` says why.
        """
        found: dict[str, Any] = await self.wire.request("GET", self._limits(tenant))
        return found["limits"]

    async def set_limits(self, tenant: str, limits: dict[str, Any]) -> dict[str, Any]:
        """Set limits of a tenant by name (an amount, "unlimited", None for its plan's), and return all of them."""
        found: dict[str, Any] = await self.wire.request("PATCH", self._limits(tenant), body=limits)
        return found["limits"]

    async def suspend_tenant(self, tenant: str) -> dict[str, Any]:
        """Suspend a tenant and return it: its calls, runs and servers have ended, and its credentials are refused."""
        return await self.wire.request("POST", path_of("tenants", check_tenant(tenant), "suspend"), body={})

    async def resume_tenant(self, tenant: str) -> dict[str, Any]:
        """Let a suspended tenant go on, and return it."""
        return await self.wire.request("POST", path_of("tenants", check_tenant(tenant), "resume"), body={})

    async def delete_tenant(self, tenant: str) -> dict[str, Any]:
        """Delete all that there is of a tenant, and return the receipt `{"tenant", "deleted_at", "removed", "left"}`.

        It can't be undone. `left` is what could not be found deleted: nothing.
        """
        return await self.wire.request("DELETE", path_of("tenants", check_tenant(tenant)), repeatable=never)

    async def create_key(
        self, tenant: str, *, role: str = "admin", name: str | None = None, expires_days: int | None = None
    ) -> dict[str, Any]:
        """Make a key of a tenant and return `{"id", "api_key", "role", …}`; the key is shown this once."""
        body = given({"role": role, "name": name, "expires_days": expires_days})
        return await self.wire.request("POST", self._keys(tenant), body=body, repeatable=never)

    async def keys(self, tenant: str) -> list[dict[str, Any]]:
        """Return all of a tenant's keys, oldest first, without the secrets."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page: dict[str, Any] = await self.wire.request("GET", self._keys(tenant), query={"cursor": cursor})
            found += page["keys"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return found

    async def revoke_key(self, tenant: str, key_id: str) -> dict[str, Any]:
        """Revoke a key; it is refused everywhere within a second."""
        return await self.wire.request("DELETE", self._keys(tenant, key_id))

    async def session(self, tenant: str) -> dict[str, Any]:
        """Open a short, audited admin session in a tenant and return `{"token", "expires_at"}`."""
        return await self.wire.request("POST", path_of("tenants", check_tenant(tenant), "session"), body={})

    async def verify_audit(self, tenant: str | None = None) -> dict[str, Any]:
        """Check a tenant's audit chain, a suspended one's too, or without one the operator's own, of `_system`."""
        whose = SYSTEM_TENANT if tenant is None else check_tenant(tenant)
        return await self.wire.request("GET", path_of("tenants", whose, "audit", "verify"))

    async def stack_keys(self) -> dict[str, Any]:
        """Return the names of the stack's keys: `{"masters": […], "signing": [{"kid", …}]}`, those in use first."""
        return await self.wire.request("GET", path_of("keys"))

    async def begin_master_rotation(self) -> dict[str, Any]:
        """Put a new master key beside the present one, or find the rotation that is under way; return the keys."""
        return await self.wire.request("POST", path_of("keys", "master"), body={})

    async def end_master_rotation(self, *, at_once: bool = False) -> dict[str, Any]:
        """Have the older master key forgotten, once nothing is sealed by it; return the keys.

        It holds for ten minutes more, for access tokens that were signed by its keys, or with `at_once` no longer.
        """
        return await self.wire.request(
            "POST", path_of("keys", "master", "retire"), body={"at_once": at_once}, timeout=_ALL_SECONDS
        )

    async def reseal(self, tenant: str, *, renew: bool = False) -> dict[str, Any]:
        """Seal a tenant's data keys by the current master key; with `renew` its values by a new data key, in steps.

        Returns `{"done", "left"}`: with something left, ask again.
        """
        return await self.wire.request("POST", path_of("keys", "tenants", tenant), body={"renew": renew})

    async def rotate_signing_key(self, retire: str | None = None) -> dict[str, Any]:
        """Have another key sign assertions, or refuse the one named `retire` at once; return the keys."""
        return await self.wire.request(
            "POST", path_of("keys", "signing"), body=given({"retire": retire}), repeatable=never
        )

    async def doctor(self) -> dict[str, Any]:
        """Return the supervisor's figures: processes, memory, starts."""
        return await self.wire.request("GET", path_of("doctor"))

    def _limits(self, tenant: str) -> str:
        return path_of("tenants", check_tenant(tenant), "limits")

    def _keys(self, tenant: str, *parts: str) -> str:
        return path_of("tenants", check_tenant(tenant), "keys", *parts)
