"""Trying a server in memory, as two tenants: no process, no network, no gateway."""

from __future__ import annotations

import inspect
import json
import secrets
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tausestack.contract import Principal
from tausestack.errors import NotFound
from tausestack.mcp.context import Context
from tausestack.mcp.serve import running
from tausestack.mcp.server import Server, arguments_digest, run_tool
from tausestack.mcp.service import Service, ServiceEnv, structured_result
from tausestack.scopes import ROLES

Answer = Callable[[dict[str, Any]], Any]
"""Answers a call to another server: takes the arguments, returns the result, awaitable or not."""

ADMIN = ROLES["admin"]


class TenantFace:
    """A tenant of the stack: calls the server's tools as an admin of it, or with other scopes."""

    def __init__(self, stack: Stack, tenant: str) -> None:
        self._stack = stack
        self.tenant = tenant

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        principal: Principal | None = None,
    ) -> Any:
        """Call a tool and return its structured result, or raise the error that it gave."""
        result = await self.call_raw(tool, arguments, idempotency_key=idempotency_key, principal=principal)
        return structured_result({"result": result})

    async def call_raw(
        self,
        tool: str,
        arguments: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        principal: Principal | None = None,
    ) -> dict[str, Any]:
        """Call a tool and return its raw result object."""
        given = json.loads(json.dumps(arguments or {}))
        context = Context(
            self._stack.service,
            principal or Principal(self.tenant, "key:test", ADMIN, "admin"),
            tool=tool,
            assertion="in memory",
            call_id=f"call_{secrets.token_hex(6)}",
            idempotency_key=idempotency_key,
            digest=arguments_digest(given),
        )
        return await run_tool(self._stack.server, context, tool, given)


class _AnsweringService(Service):
    """A service whose calls to others are answered by the test."""

    answers: dict[str, Answer]

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
        answer = self.answers.get(address)
        if answer is None:
            raise NotFound(f"the test gave no answer for {address}: use stack.answer('{address}', …)")
        found = answer(arguments)
        return await found if inspect.isawaitable(found) else found


class Stack:
    """A server in memory with two tenants, `acme` and `globex`."""

    def __init__(self, server: Server, service: _AnsweringService) -> None:
        self.server = server
        self.service = service
        self.acme = TenantFace(self, "acme")
        self.globex = TenantFace(self, "globex")

    def tenant(self, name: str) -> TenantFace:
        """Return another tenant."""
        return TenantFace(self, name)

    def answer(self, address: str, answer: Answer) -> None:
        """Answer the server's calls to `server/tool` with a function of the arguments."""
        self.service.answers[address] = answer


@asynccontextmanager
async def stack(
    server: Server, *, data: Path | None = None, database_url: str | None = None, **env: Any
) -> AsyncGenerator[Stack]:
    """Run a server in memory; its SQLite files live in a temporary folder, or in `data`.

    Further arguments are fields of `ServiceEnv`.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = ServiceEnv(data=data or Path(folder), database_url=database_url, **env)
        service = _AnsweringService(server.name, made, server.schema)
        service.answers = {}
        async with running(server, service):
            yield Stack(server, service)
