"""auth and registry as a gateway calls them, in this process: what they say is a test's to change."""

from __future__ import annotations

from typing import Any

from tausestack.changes import ChangeFeed
from tausestack.errors import Unavailable

KEY: dict[str, Any] = {
    "tenant": "acme",
    "key_id": "k1",
    "role": "admin",
    "scopes": ["tools:call"],
    "expires_at": None,
    "incarnation": "",
}


class Owners:
    """Tenants, API keys by their hash, and people; every change has to be told to a feed."""

    def __init__(self) -> None:
        self.feeds = {"auth": ChangeFeed(), "registry": ChangeFeed()}
        self.keys: dict[str, dict[str, Any]] = {"h1": dict(KEY)}
        self.tenants: dict[str, dict[str, Any]] = {
            "acme": {
                "status": "active",
                "plan": "basic",
                "created_at": "2026-01-01T00:00:00+00:00",
                "incarnation": "",
            }
        }
        self.users: list[dict[str, Any]] = []
        self.ended: list[str] = []
        self.down = False
        self.asked: list[tuple[str, str]] = []
        self.told: list[tuple[str, str, str, dict[str, Any]]] = []
        """What was called that changes something: service, tool, tenant, arguments."""
        self.during_load: Any = None

    async def __call__(self, service: str, tool: str, tenant: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((service, tool))
        if self.down:
            raise Unavailable("down")
        if tool == "changes":
            return dict(self.feeds[service].since(arguments["boot"], arguments["epoch"]))
        if tool == "authenticate":
            return self.keys.get(arguments["key_hash"], {"tenant": None})
        if tool == "external_user":
            self.told.append((service, tool, tenant, arguments))
            return {}
        if tool == "ended":
            return {"ended": arguments["tenant"] in self.tenants and not set(self.ended).isdisjoint(arguments["ids"])}
        if tool == "holder":
            return {"holder": self._holder(arguments["tenant"], arguments["principal"])}
        if service == "auth":
            return self._snapshot(arguments["tenant"])
        return {"installations": []}

    def touch(self, tenant: str = "acme") -> None:
        """Say that a tenant changed."""
        self.feeds["auth"].touch(tenant)

    def _snapshot(self, tenant: str) -> dict[str, Any]:
        found = {"tenant": tenant, **self.tenants.get(tenant, {})}
        if self.during_load is not None:
            self.during_load, change = None, self.during_load
            change()
        return found if tenant in self.tenants else {"tenant": None}

    def _holder(self, tenant: str, principal: str) -> dict[str, Any] | None:
        kind, _, name = principal.partition(":")
        if kind == "key":
            return next((one for one in self.keys.values() if (one["tenant"], one["key_id"]) == (tenant, name)), None)
        user = next((one for one in self.users if one["id"] == name), None)
        return None if user is None else {"role": ",".join(user["roles"]), "scopes": user["scopes"]}
