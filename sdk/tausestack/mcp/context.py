"""What a tool may reach in the course of one call: everything of its tenant, and nothing of any other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from tausestack.contract import Principal
from tausestack.errors import KeyReused
from tausestack.mcp.service import Service

if TYPE_CHECKING:
    from tausestack.database import Connection

Progress = Callable[[float, float | None, str | None], Awaitable[None]]


class AlreadyDone(BaseException):
    """The call's idempotency key has a result already; a `BaseException`, so that no tool takes it for a failure."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


class Secrets:
    """The secrets that the tenant gave this server when installing it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def get(self, name: str) -> str | None:
        """Return a secret's value, or None where the tenant gave none."""
        asked = {"server": self._context.service.name, "names": [name]}
        found = await self._context.call("registry/reveal", asked)
        return found["secrets"].get(name)


class Context:
    """One call as its tool sees it.

    `tenant` and `principal` come from the gateway's assertion; `call_id` is the gateway's; `idempotency_key` is the
    caller's, if it sent one; `state` is what the server's lifespan yielded.
    """

    def __init__(
        self,
        service: Service,
        principal: Principal,
        *,
        tool: str,
        assertion: str,
        call_id: str,
        idempotency_key: str | None = None,
        approval: str | None = None,
        digest: str = "",
        progress: Progress | None = None,
    ) -> None:
        self.service = service
        self.principal = principal
        self.tenant = principal.tenant
        self.tool = tool
        self.call_id = call_id
        self.idempotency_key = idempotency_key
        self.approval = approval
        self.logger = structlog.get_logger(service.name).bind(tenant=self.tenant, call=call_id, tool=tool)
        self.secrets = Secrets(self)
        self._assertion = assertion
        self._digest = digest
        self._progress = progress
        self._writing: Connection | None = None

    @property
    def state(self) -> Any:
        """What the server's lifespan yielded."""
        return self.service.state

    def database(self) -> AbstractAsyncContextManager[Connection]:
        """Return this tenant's database as one transaction, committed on leaving and undone by an exception."""
        return self.service.databases.transaction(self.tenant)

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Return this tenant's database for reading: it waits for no writer."""
        return self.service.databases.reading(self.tenant)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[Connection]:
        """Give this tenant's database for the call's effect, which commits when the tool has returned.

        The idempotency key and the result are kept in the same transaction. Where the key has a result already, the
        tool goes no further and that result is the call's; with other arguments `KeyReused` is raised. Entering again
        in the same call joins the same transaction.
        """
        if self._writing is None:
            self._writing = await self.service.databases.begin(self.tenant)
            await self._known(self._writing)
        yield self._writing

    async def call(self, address: str, arguments: dict[str, Any], *, idempotency_key: str | None = None) -> Any:
        """Call a tool of another server through the gateway, under the same tenant and for the same principal.

        Returns its structured result; raises the error that it gave.
        """
        return await self.service.call_gateway(
            self.tenant,
            address,
            arguments,
            credential=self._assertion,
            parent=self.call_id,
            idempotency_key=idempotency_key,
        )

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the caller how far the tool has come, if it asked to be told."""
        if self._progress is not None:
            await self._progress(progress, total, message)

    async def settle(self, result: dict[str, Any]) -> None:
        """Commit the call's effect with its key and result; the kit calls this when the tool has returned."""
        if self._writing is None:
            return
        if self.idempotency_key is not None:
            from tausestack.database import idempotency

            await idempotency.remember(self._writing, self.tool, self.idempotency_key, self._digest, result)
        await self._writing.commit()

    async def aclose(self) -> None:
        """Undo what was not committed; the kit calls this at the call's end."""
        if self._writing is not None:
            await self._writing.aclose()

    async def _known(self, db: Connection) -> None:
        if self.idempotency_key is None:
            return
        from tausestack.database import idempotency

        found = await idempotency.find(db, self.tool, self.idempotency_key)
        if found is None:
            return
        digest, result = found
        if digest != self._digest:
            raise KeyReused("This idempotency key was used with other arguments", key=self.idempotency_key)
        raise AlreadyDone(result)
