"""A tenant's client."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import httpx2

from tausestack.client.agents import Agents
from tausestack.client.approvals import Approvals
from tausestack.client.schedules import Schedules
from tausestack.client.threads import Threads
from tausestack.client.wire import PATIENCE_SECONDS, Repeatable, Wire, WireClient, path_of, raise_problem
from tausestack.names import check_server, check_tenant, parse_address
from tausestack.raw import given

if TYPE_CHECKING:
    import mcp

DEFAULT_URL = "http://127.0.0.1:8000"
MAX_PAGE = 500
"""How many audit entries a page has at most."""

Progress = Callable[[dict[str, Any]], Awaitable[None] | None]
"""Takes `{"progress", "total"?, "message"?}` while a call runs."""


class Client(WireClient):
    """Calls one tenant's tools, servers and agents.

    Every failure is a `tausestack.errors.TauseError`. A request that broke is sent again where that can't make
    anything happen twice; where it could, `InDoubt` is raised.
    """

    def __init__(
        self, tenant: str, api_key: str, url: str = DEFAULT_URL, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Take a tenant, a key of it, the gateway's URL, and the seconds for which a lost gateway is tried again."""
        self.tenant = check_tenant(tenant)
        super().__init__(Wire(url, api_key, patience=patience))
        self.agents = Agents(self)
        self.approvals = Approvals(self)
        self.threads = Threads(self)
        self.schedules = Schedules(self)

    async def call(
        self,
        address: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        approval: str | None = None,
        on_progress: Progress | None = None,
    ) -> Any:
        """Call a tool by its address and return its structured result, or `{"content": […]}` where it has none.

        Without an idempotency key the client makes one, so that a write that it sends again happens once. `approval`
        is that of an earlier `ApprovalRequired`; `timeout` is in seconds.
        """
        server, tool = parse_address(address)
        path = self.path("tools", server, tool)
        headers = self.key(idempotency_key)
        if approval is not None:
            headers["tausestack-approval"] = approval
        body = dict(arguments or {})
        if on_progress is None:
            return await self.wire.request(
                "POST", path, body=body, headers=headers, timeout=timeout, repeatable=self.may_repeat(address)
            )

        async def once(_: httpx2.AsyncClient) -> Any:
            return await self._streamed(path, body, headers, timeout, on_progress)

        return await self.wire.persist(once, self.may_repeat(address))

    def mcp(self, server: str | None = None, **more: Any) -> AbstractAsyncContextManager[mcp.Client]:
        """Open the tenant's merged MCP endpoint, or one server's, with this client's key.

        It gives out the official SDK's client: tools under their wire names, resources, prompts, subscriptions. What
        else is said goes to `tausestack.mcp.connect`.
        """
        from tausestack.mcp.client import connect  # those who only call tools don't load the protocol

        path = f"/tenants/{self.tenant}/mcp"
        if server is not None:
            path = f"/tenants/{self.tenant}/servers/{check_server(server)}/mcp"
        return connect(self.wire.url + path, headers=self.wire.headers, **more)

    async def tools(self, search: str | None = None) -> list[dict[str, Any]]:
        """Return the tenant's tools with their schemas and policies; those that a search finds, best first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page: dict[str, Any] = await self.wire.request(
                "GET", self.path("tools"), query={"search": search, "cursor": cursor}
            )
            found += page["tools"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return found

    async def servers(self) -> list[dict[str, Any]]:
        """Return the tenant's installed servers."""
        found: dict[str, Any] = await self.wire.request("GET", self.path("servers"))
        return found["servers"]

    async def server(self, name: str) -> dict[str, Any]:
        """Return one installed server."""
        return await self.wire.request("GET", self.path("servers", check_server(name)))

    async def plan(
        self,
        ref: str,
        *,
        name: str | None = None,
        arguments: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return what installing would do; nothing changes."""
        words = None if arguments is None else list(arguments)
        asked = {"ref": ref, "name": name, "arguments": words, "config": config, "secrets": secrets}
        return await self.wire.request("POST", self.path("plans"), body=given(asked), timeout=timeout)

    async def install(
        self,
        ref: str,
        *,
        name: str | None = None,
        arguments: Sequence[str] | None = None,
        config: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        default: bool | None = None,
        approve: bool | str = True,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Install a server and return `{"name", "status", "tools": […]}`; `approve` is True or a plan's hash.

        `arguments` are for a package's command, and no place for secrets. Installing what is installed already returns
        it unchanged.
        """
        words = None if arguments is None else list(arguments)
        given_to_it = {"arguments": words, "config": config, "secrets": secrets}
        asked = {"ref": ref, "approve": approve, "name": name, "default": default, **given_to_it}
        return await self.wire.request(
            "POST",
            self.path("servers"),
            body=given(asked),
            headers=self.key(None),
            timeout=timeout,
            repeatable=self.may_repeat("registry/install"),
        )

    async def update(
        self, name: str, *, default: bool | None = None, secrets: Mapping[str, str | None] | None = None
    ) -> dict[str, Any]:
        """Change how a server is installed, and return it: whether it is the tenant's default, and its secrets.

        Secrets that are not named stay, and those that are None are removed.
        """
        return await self.wire.request(
            "PATCH",
            self.path("servers", check_server(name)),
            body=given({"default": default, "secrets": None if secrets is None else dict(secrets)}),
            headers=self.key(None),
            repeatable=self.may_repeat("registry/update"),
        )

    async def approve(self, name: str, approve: bool | str = True) -> dict[str, Any]:
        """Approve a server's quarantined tools and return it; `approve` is True or the hash that a review showed."""
        return await self.wire.request(
            "POST",
            self.path("servers", check_server(name), "approve"),
            body={"approve": approve},
            headers=self.key(None),
            repeatable=self.may_repeat("registry/approve"),
        )

    async def uninstall(self, name: str, *, purge: bool = False) -> dict[str, Any]:
        """Uninstall a server; one of our own keeps its data unless `purge`."""
        return await self.wire.request(
            "DELETE",
            self.path("servers", check_server(name)),
            query={"purge": "true"} if purge else None,
            headers=self.key(None),
            repeatable=self.may_repeat("registry/uninstall"),
        )

    async def usage(self, *, since: str | None = None, until: str | None = None) -> dict[str, Any]:
        """Return the calls of a period summed up by tool; times are UTC, ISO 8601."""
        return await self.wire.request("GET", self.path("usage"), query={"since": since, "until": until})

    async def audit(self, *, limit: int | None = None, before: int | None = None) -> list[dict[str, Any]]:
        """Return audit entries, the newest first, of which there may be any number."""
        found: list[dict[str, Any]] = []
        while True:
            left = None if limit is None else min(limit - len(found), MAX_PAGE)
            page: dict[str, Any] = await self.wire.request(
                "GET", self.path("audit"), query={"limit": left, "before": before}
            )
            found += page["entries"]
            if limit is None or len(found) >= limit or not page.get("next_cursor"):
                return found
            before = int(page["next_cursor"])

    async def verify_audit(self) -> dict[str, Any]:
        """Check the tenant's audit chain and return `{"ok", "lines", …}`."""
        return await self.wire.request("GET", self.path("audit", "verify"))

    async def explain(self, address: str) -> dict[str, Any]:
        """Return whether this credential may call a tool, and which rule decides that."""
        server, tool = parse_address(address)
        return await self.wire.request("GET", self.path("explain"), query={"server": server, "tool": tool})

    def path(self, *parts: str) -> str:
        """Return a path below the tenant's own."""
        return path_of("tenants", self.tenant, *parts)

    def key(self, own: str | None) -> dict[str, str]:
        """Return the header with an idempotency key: the caller's own, or one that is made."""
        return {"idempotency-key": own or secrets.token_hex(16)}

    def may_repeat(self, address: str) -> Repeatable:
        """Return the question whether a call of a tool that broke midway may be sent again under its key."""

        async def ask() -> bool:
            found = next((tool for tool in await self.tools() if tool["address"] == address), None)
            if found is None:
                return False
            return found.get("side_effect") == "read" or bool(found.get("idempotent")) or bool(found.get("keyed"))

        return ask

    async def _streamed(
        self,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
        timeout: float | None,
        on_progress: Progress,
    ) -> Any:
        async with self.wire.events("POST", path, body=body, headers=headers, timeout=timeout) as source:
            async for event in source:
                content = json.loads(event.data)
                if event.event == "result":
                    return content
                if event.event == "error":
                    raise_problem(content, 500)
                if event.event == "progress":
                    waiting = on_progress(content)
                    if waiting is not None:
                        await waiting
        raise httpx2.RemoteProtocolError("the stream ended without a result")
