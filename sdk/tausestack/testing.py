"""An in-memory stack for tests: one server, two tenants, the real protocol, no gateway."""

from __future__ import annotations

import inspect
import secrets
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult

from tausestack.contract import META_APPROVAL, META_ASSERTION, META_CALL, META_KEY, Principal
from tausestack.errors import NotFound, from_data
from tausestack.mcp import Server, Service, ServiceEnv
from tausestack.mcp.gateway import NestedCall, result_of
from tausestack.names import SYSTEM_TENANT, Address
from tausestack.raw import as_object, given
from tausestack.scopes import OPERATOR, ROLES, SYSTEM
from tausestack.sealing import Masters, new_key
from tausestack.tokens import Signer, server_audience

Answer = Callable[[dict[str, Any]], Any]
Progress = tuple[float, float | None, str | None]

_ASSERTION_SECONDS = 3600


@dataclass(frozen=True)
class Said:
    """A call that the server made to another."""

    tenant: str
    address: str
    arguments: dict[str, Any]
    idempotency_key: str | None
    parent: str | None


class Answers:
    """Stands for the gateway: answers a server's own calls by functions."""

    def __init__(self) -> None:
        self.functions: dict[str, Answer] = {}
        self.said: list[Said] = []

    async def call(self, call: NestedCall) -> Any:
        """Return what the function for a tool returns, or raise `NotFound` where there is none."""
        address = str(call.address)
        self.said.append(Said(call.tenant, address, call.arguments, call.idempotency_key, call.parent))
        function = self.functions.get(address)
        if function is None:
            raise NotFound(f"nothing answers for {address}: use stack.answer('{address}', …)")
        found = function(call.arguments)
        return await found if inspect.isawaitable(found) else found

    async def aclose(self) -> None:
        """Forget the functions."""
        self.functions.clear()


class Caller:
    """One principal of one tenant, calling the stack's server."""

    def __init__(self, stack: Stack, principal: Principal) -> None:
        self._stack = stack
        self.principal = principal
        self.assertion = stack.signer.sign(principal, server_audience(stack.server.name), _ASSERTION_SECONDS)

    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None,
        approval: str | None = None, call_id: str | None = None, on_progress: Callable[[Progress], None] | None = None,
    ) -> Any:  # fmt: skip
        """Call a tool and return its structured result, or raise the `TauseError` it failed with."""
        meta: Any = given(
            {
                META_ASSERTION: self.assertion,
                META_CALL: call_id or secrets.token_hex(8),
                META_KEY: idempotency_key,
                META_APPROVAL: approval,
            }
        )

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            if on_progress is not None:
                on_progress((progress, total, message))

        try:
            result = await self._stack.client.call_tool(
                tool, dict(arguments or {}), meta=meta, progress_callback=None if on_progress is None else progressed
            )
        except MCPError as error:
            data = as_object(error.data)
            if data is None or "code" not in data:
                raise
            raise from_data(error.message, data) from error
        return result_of(Address(self._stack.server.name, tool), {"result": _raw(result)})

    async def http(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        """Request an `http` binding, `path` being what the server declared."""
        headers = {"authorization": f"Bearer {self.assertion}", **rest.pop("headers", {})}
        return await self._stack.http.request(method, f"/http/{path.lstrip('/')}", headers=headers, **rest)


class Stack:
    """A server at work, and those who call it: `acme` and `globex` as admins, `system` and `operator`."""

    def __init__(
        self,
        server: Server,
        service: Service,
        signer: Signer,
        client: Client,
        http: httpx2.AsyncClient,
        answers: Answers,
    ) -> None:
        self.server = server
        self.service = service
        self.signer = signer
        self.client = client
        self.http = http
        self._answers = answers
        self.acme = self.tenant("acme")
        self.globex = self.tenant("globex")
        self.system = self.caller(Principal(SYSTEM_TENANT, "gateway", frozenset({SYSTEM})))
        self.operator = self.caller(Principal(SYSTEM_TENANT, OPERATOR, frozenset({OPERATOR})))

    @property
    def calls(self) -> list[Said]:
        """The calls that the server made to others, in order."""
        return self._answers.said

    def answer(self, address: str, function: Answer) -> None:
        """Answer the server's calls of a tool by a function of its arguments, plain or asynchronous."""
        self._answers.functions[address] = function

    def tenant(self, name: str, *, role: str = "admin", system: bool = False) -> Caller:
        """Return a caller with a role of a tenant; `system` adds the scope of the stack's own processes."""
        scopes = ROLES[role] | {SYSTEM} if system else ROLES[role]
        return self.caller(Principal(name, f"key:{name}-{role}", scopes, role=role))

    def caller(self, principal: Principal) -> Caller:
        """Return a caller for any principal."""
        return Caller(self, principal)


@asynccontextmanager
async def stack(
    server: Server, *, data: Path | None = None, database_url: str | None = None,
    masters: Masters | None = None, tenant: str | None = None,
) -> AsyncGenerator[Stack]:  # fmt: skip
    """Run a server in memory over a temporary folder (or `data`), with a signing key of its own.

    `masters` are what `ServiceEnv.masters` says (else one of its own), `tenant` its only tenant where it has one.
    """
    signer = Signer(secrets.token_bytes(32))
    with tempfile.TemporaryDirectory(prefix="tausestack-") as folder:
        env = ServiceEnv(
            data=data or Path(folder),
            database_url=database_url,
            jwks=signer.jwks(),
            process_credential="testing",
            tenant=tenant,
            masters=masters or _one_master(),
        )
        service = server.service(env)
        answers = Answers()
        service.gateway = answers
        app = server.asgi(env, allowed_hosts=None, service=service)
        transport = httpx2.ASGITransport(app)
        async with (
            service.running(server.lifespan),
            Client(server.protocol(service)) as client,
            httpx2.AsyncClient(transport=transport, base_url="http://server") as http,
        ):
            yield Stack(server, service, signer, client, http, answers)


def _one_master() -> Masters:
    key = new_key()
    return lambda: {"testing": key}


def _raw(result: CallToolResult) -> dict[str, Any]:
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)
