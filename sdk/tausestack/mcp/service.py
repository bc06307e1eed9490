"""A server's process: what it was started with, whom it believes, and how it calls others."""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_VERSION_META,
    META_KEY,
    META_PARENT,
    PROTOCOL_VERSION,
    Principal,
)
from tausestack.errors import InDoubt, TauseError, ToolFailed, Unauthenticated, Unavailable, from_data
from tausestack.names import parse_address
from tausestack.raw import as_array, as_object
from tausestack.tenancy import credential_hash

if TYPE_CHECKING:
    from tausestack.database import Schema, TenantDatabases
    from tausestack.tokens import Verifier

MAX_VERIFIED = 1024
CALL_SECONDS = 120.0


@dataclass(frozen=True)
class ServiceEnv:
    """What a process of the house is started with.

    `gateway` is the path of the gateway's internal Unix socket; `keys` are named keys of 32 bytes that only this
    service gets; `tenant` is set where a process serves one tenant alone.
    """

    data: Path = Path(".tausestack")
    database_url: str | None = None
    jwks: Mapping[str, Any] = field(default_factory=lambda: {"keys": []})
    gateway: str | None = None
    process_credential: str | None = None
    tenant: str | None = None
    keys: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    log_level: str = "info"

    @classmethod
    def from_environment(cls) -> ServiceEnv:
        """Return the environment of a service that is started by hand, from `TAUSESTACK_*`."""
        data = Path(os.environ.get("TAUSESTACK_DATA") or ".tausestack")
        jwks = Path(os.environ.get("TAUSESTACK_JWKS") or data / "jwks.json")
        return cls(
            data=data,
            database_url=os.environ.get("TAUSESTACK_DATABASE_URL") or None,
            jwks=json.loads(jwks.read_text()) if jwks.exists() else {"keys": []},
            gateway=os.environ.get("TAUSESTACK_GATEWAY_SOCKET") or None,
            log_level=os.environ.get("TAUSESTACK_LOG_LEVEL") or "info",
        )


class Service:
    """One running server: its databases, its verified assertions, its way to the gateway."""

    def __init__(self, name: str, env: ServiceEnv, schema: Schema | None) -> None:
        self.name = name
        self.env = env
        self.state: Any = None
        """What the server's lifespan yielded."""
        self._schema = schema
        self._verified: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._http: httpx2.AsyncClient | None = None

    @cached_property
    def databases(self) -> TenantDatabases:
        """The server's databases, by tenant."""
        if self._schema is None:
            raise RuntimeError(f"{self.name} has no schema: give Server(schema=…)")
        from tausestack.database import TenantDatabases

        return TenantDatabases(self._schema, data=self.env.data, url=self.env.database_url)

    @cached_property
    def _verifier(self) -> Verifier:
        from tausestack.tokens import Verifier, server_audience

        return Verifier(self.env.jwks, server_audience(self.name))

    def verify(self, assertion: str | None) -> Principal:
        """Return who an assertion says acts, or raise `Unauthenticated`."""
        if not assertion:
            raise Unauthenticated("A call needs the gateway's assertion; 'tausestack token' mints one for trying")
        key = credential_hash(assertion)
        known = self._verified.get(key)
        if known is None:
            known = self._verifier.verify(assertion)
            self._verified[key] = known
            while len(self._verified) > MAX_VERIFIED:
                self._verified.popitem(last=False)
        principal, expires = known
        if expires <= time.time():
            del self._verified[key]
            raise Unauthenticated("the assertion has expired")
        if self.env.tenant is not None and principal.tenant != self.env.tenant:
            raise Unauthenticated("the assertion is for another tenant's process")
        return principal

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return who acts, by the bearer token of an HTTP request's headers (lower-case names)."""
        scheme, _, assertion = headers.get("authorization", "").partition(" ")
        return self.verify(assertion.strip() if scheme.lower() == "bearer" else None)

    async def call_gateway(
        self,
        tenant: str,
        address: str,
        arguments: dict[str, Any],
        *,
        credential: str | None = None,
        parent: str | None = None,
        idempotency_key: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a tool of another server through the gateway and return its structured result.

        With `credential` and `parent` it is made in the course of a call, for whoever made that one; without, as this
        process itself, which the tenant `_system` alone allows. Raises the error that the gateway or the tool gave.
        """
        if self.env.gateway is None:
            raise Unavailable(f"{self.name} runs alone: there is no gateway to call {address} through")
        server, tool = parse_address(address)
        own: dict[str, Any] = {MCP_VERSION_META: PROTOCOL_VERSION, MCP_CAPABILITIES_META: {}, **(meta or {})}
        if parent is not None:
            own[META_PARENT] = parent
        if idempotency_key is not None:
            own[META_KEY] = idempotency_key
        headers = {
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {credential or self.env.process_credential}",
            "MCP-Protocol-Version": PROTOCOL_VERSION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        if self.env.process_credential is not None:
            headers["X-TauseStack-Process"] = self.env.process_credential
        params = {"name": tool, "arguments": arguments, "_meta": own}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        target = f"/tenants/{tenant}/servers/{server}/mcp"
        try:
            reply = await self._client().post(target, json=body, headers=headers)
        except httpx2.ConnectError as error:
            raise Unavailable("the gateway does not answer") from error
        except httpx2.TransportError as error:
            raise InDoubt(f"the gateway broke off in the middle of {address}") from error
        return structured_result(reply.json())

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            transport = httpx2.AsyncHTTPTransport(uds=self.env.gateway, verify=False)
            self._http = httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=CALL_SECONDS)
        return self._http

    async def aclose(self) -> None:
        """Close databases and connections."""
        if self._http is not None:
            await self._http.aclose()
        if "databases" in self.__dict__:
            await self.databases.aclose()


def structured_result(message: dict[str, Any]) -> Any:
    """Return the structured result of a `tools/call` response, or raise what it reports."""
    error = as_object(message.get("error"))
    if error is not None:
        raise from_data(str(error.get("message", "")), as_object(error.get("data")) or {})
    result = as_object(message.get("result")) or {}
    blocks = [as_object(block) or {} for block in as_array(result.get("content")) or []]
    if result.get("isError") is True:
        cause = as_object((as_object(result.get("_meta")) or {}).get("pro.tause/error"))
        text = "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
        raise _failure(text, cause)
    if "structuredContent" in result:
        return result["structuredContent"]
    return {"content": blocks}


def _failure(text: str, cause: dict[str, Any] | None) -> TauseError:
    return ToolFailed(text) if cause is None else from_data(text, cause)
