"""A server at work: what its lifespan and every call share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from tausestack.contract import Principal
from tausestack.errors import Unavailable
from tausestack.mcp.assertions import Assertions, bearer
from tausestack.mcp.digests import Digests
from tausestack.mcp.environment import ServiceEnv
from tausestack.mcp.gateway import Gateway, GatewaySocket, NestedCall
from tausestack.mcp.tasks import Tasks
from tausestack.mcp.tenant_work import TenantWork
from tausestack.names import parse_address
from tausestack.tracing import Tracing, tracing

if TYPE_CHECKING:
    from tausestack.database import Schema, TenantDatabases, Vault

Lifespan = Callable[["Service"], AbstractAsyncContextManager[Any]]


class Service:
    """What a server's process has: its surroundings, its databases, its way to the gateway, its own state."""

    def __init__(self, name: str, env: ServiceEnv, schema: Schema | None = None) -> None:
        self.name = name
        self.env = env
        self.state: Any = None
        """What the lifespan yielded."""
        self.databases: TenantDatabases | None = None if schema is None else _databases(schema, env)
        self.vault: Vault | None = None if schema is None or not schema.sealed else _vault(schema, env)
        """Where sealed values of its tables are sealed and opened; None where it declared none."""
        self.digests = Digests(env.digest_keys)
        """What idempotency keys stand for."""
        self.gateway: Gateway | None = (
            None if env.gateway is None else GatewaySocket(env.gateway, env.process_credential, name)
        )
        self.work = TenantWork()
        """What goes on for each tenant, so that it can be ended."""
        self.tasks: Tasks | None = None
        """Where calls go on that were answered with a task; None where no tool may be."""
        self.tracing: Tracing | None = None
        """What spans are made by; None where no collector is set, and before the service runs."""
        self._assertions = Assertions(env.jwks, name, env.tenant)

    @asynccontextmanager
    async def running(self, lifespan: Lifespan | None) -> AsyncGenerator[Service]:
        """Run the lifespan around whatever is served, and close what the service holds."""
        async with AsyncExitStack() as stack:
            self.tracing = tracing(self.env.otlp_endpoint, self.name)
            if self.tracing is not None:
                stack.callback(self.tracing.close)
            if self.databases is not None:
                stack.push_async_callback(self.databases.aclose)
            if self.gateway is not None:
                stack.push_async_callback(self.gateway.aclose)
            if lifespan is not None:
                self.state = await stack.enter_async_context(lifespan(self))
            if self.tasks is not None:
                await stack.enter_async_context(self.tasks.running())
            yield self

    def tenant_databases(self) -> TenantDatabases:
        """Return the service's databases, or raise `RuntimeError` where it declared no schema."""
        if self.databases is None:
            raise RuntimeError(f"{self.name} has no database: give its Server a schema")
        return self.databases

    def authenticate(self, headers: Mapping[str, str] | list[tuple[bytes, bytes]]) -> Principal:
        """Return who makes an HTTP request, by its headers or their ASGI list, or raise `Unauthenticated`."""
        read = Headers(raw=headers) if isinstance(headers, list) else Headers(headers)
        return self._assertions.principal(bearer(read))

    def principal(self, assertion: str | None) -> Principal:
        """Return who acts by an assertion, or raise `Unauthenticated`."""
        return self._assertions.principal(assertion)

    async def call_gateway(
        self, tenant: str, address: str, arguments: dict[str, Any] | None = None, *, bearer: str | None = None,
        parent: str | None = None, idempotency_key: str | None = None, approval: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Call a tool (`server/tool`) through the gateway and return its structured result.

        Without `bearer` the process speaks for itself, with its own credential, which is good for `_system` alone.
        Raises the failure, as `Context.call` does.
        """
        credential = bearer or self.env.process_credential
        if self.gateway is None or credential is None:
            raise Unavailable(f"{self.name} runs alone: there is no gateway to call {address} through")
        target, given = parse_address(address), arguments or {}
        if self.tracing is not None:
            meta = {**(meta or {}), **self.tracing.carrier()}
        return await self.gateway.call(
            NestedCall(tenant, target, given, credential, parent, idempotency_key, approval, meta or {})
        )


def _databases(schema: Schema, env: ServiceEnv) -> TenantDatabases:
    # A server without a schema never needs SQLAlchemy, and may not have it.
    from tausestack.database import TenantDatabases

    return TenantDatabases(schema, data=env.data, url=env.database_url)


def _vault(schema: Schema, env: ServiceEnv) -> Vault:
    from tausestack.database import Vault

    return Vault(schema.service, schema.sealed, env.masters)
