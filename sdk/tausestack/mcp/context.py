"""What a tool is given beside its arguments: the tenant it serves, and the ways out that are open to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import structlog

from tausestack.contract import Principal
from tausestack.limits import STOCK_RETRY_SECONDS, exceeded
from tausestack.mcp.digests import arguments_digest
from tausestack.mcp.tasks import lacking_tasks
from tausestack.mcp.writing import Writing

if TYPE_CHECKING:
    from tausestack.database import Connection, Vault
    from tausestack.mcp.service import Service

Report = Callable[[float, float | None, str | None], Awaitable[None]]
"""Sends a call's progress, a total and a message to its caller."""


class Ask(Protocol):
    """Asks a call's client for input, under a name, and returns the answer."""

    def __call__(
        self, name: str, request: dict[str, Any], unless: anyio.Event | None = None
    ) -> Awaitable[dict[str, Any]]:
        """Ask; once `unless` is set it is taken back, and `{"action": "cancel"}` returned."""
        ...


class Secrets:
    """The tenant's secrets for this server, kept by the registry."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def get(self, name: str) -> str | None:
        """Return a secret's value, or None where the tenant has set none."""
        found = await self._context.call(
            "registry/reveal", {"server": self._context.service.name, "names": [name]}, keyed=False
        )
        return found["secrets"].get(name)


class Context:
    """One call of one tenant."""

    def __init__(
        self, *, service: Service, principal: Principal, assertion: str, call_id: str, tool: str, reads: bool,
        idempotency_key: str | None = None, approval: str | None = None, writing: Writing | None = None,
        limits: Mapping[str, int] | None = None,
        report: Report | None = None, ask: Ask | None = None, given_up: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.service = service
        self.principal = principal
        self.call_id = call_id
        self.tool = tool
        self.idempotency_key = idempotency_key
        self.approval = approval
        self.limits = limits or {}
        """The tenant's limits that this server counts, by name; one that is not there is none."""
        self.secrets = Secrets(self)
        self._named = {"tenant": principal.tenant, "call": call_id, "server": service.name, "tool": tool}
        self.logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(service.name).bind(**self._named)
        self.traceparent: str | None = None
        """The W3C context of the call's own span; None where nothing is traced."""
        self._assertion = assertion
        self._reads = reads
        self.writing = writing
        """The call's write; None where it can't write."""
        self._report = report
        self._ask = ask
        self.given_up = given_up
        """Whether the client wants the task cancelled, which a process that only ends does not mean."""
        self._open = 0
        self._nested: Counter[str] = Counter()

    @property
    def tenant(self) -> str:
        """The tenant, from the credential and from nothing else."""
        return self.principal.tenant

    @property
    def state(self) -> Any:
        """What the server's lifespan yielded."""
        return self.service.state

    def logged(self) -> AbstractContextManager[None]:
        """Name the call in every log line within, whoever writes it."""
        return structlog.contextvars.bound_contextvars(**self._named)

    @property
    def vault(self) -> Vault:
        """Where values of this server's sealed tables are sealed and opened."""
        if self.service.vault is None:
            raise RuntimeError(f"{self.service.name} seals nothing: give its Schema the tables that hold sealed values")
        return self.service.vault

    @asynccontextmanager
    async def database(self) -> AsyncGenerator[Connection]:
        """Open a transaction on this tenant's database, committed on leaving.

        A tool that only reads gets one that can't write. Inside `write` it is the call's own transaction.
        """
        databases = self.service.tenant_databases()
        if self.writing is not None and self.writing.is_open:
            async with self.writing.transaction() as connection:
                yield connection
            return
        opening = databases.reading if self._reads else databases.transaction
        async with opening(self.tenant) as connection:
            self._open += not self._reads
            try:
                yield connection
            finally:
                self._open -= not self._reads

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction on this tenant's database that can't write and waits for no writer."""
        return self.service.tenant_databases().reading(self.tenant)

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[Connection]:
        """Open the call's one writing transaction, or join it.

        It commits when the tool returns, together with the call's idempotency key and result, and is undone when the
        tool raises. A call that was done before ends here with its first result. Raises `KeyReused` where the key
        came with other arguments. Until the tool returns, no other write of the tenant's goes on in this server.
        """
        self.service.tenant_databases()
        if self.writing is None or self._reads:
            raise RuntimeError(f"{self.tool} is declared to read: it can't write")
        if self._open:
            raise RuntimeError("ctx.write() inside ctx.database() would wait for itself: leave ctx.database() first")
        async with self.writing.transaction() as connection:
            yield connection

    def check_limit(
        self, name: str, about: str, used: int, more: int = 1, *, retry_after: int = STOCK_RETRY_SECONDS
    ) -> None:
        """Raise `RateLimited` where a tenant would have more of something than its limit; `about` is its plural.

        What is used has to be read in the transaction that adds to it. `retry_after` is in seconds.
        """
        most = self.limits.get(name)
        if most is not None and more > 0 and used + more > most:
            raise exceeded(name, about, most, used, asked=more, retry_after=retry_after)

    async def call(
        self, address: str, arguments: dict[str, Any] | None = None, *, idempotency_key: str | None = None,
        keyed: bool = True,
    ) -> Any:  # fmt: skip
        """Call another server's tool (`server/tool`) for this tenant, through the gateway; return its result.

        Where this call bears an idempotency key, the nested one gets its own, derived from it, unless `keyed` is
        false. Raises what the tool raised there, `ToolFailed` where it only said that it failed.
        """
        given = arguments or {}
        if idempotency_key is None and keyed and self.idempotency_key is not None:
            idempotency_key = await self._derived_key(address, given)
        return await self.service.call_gateway(
            self.tenant,
            address,
            given,
            bearer=self._assertion,
            parent=self.call_id,
            idempotency_key=idempotency_key,
        )

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the caller how far the call is; nothing happens where it did not ask. In a task it is the status."""
        if self._report is not None:
            await self._report(progress, total, message)

    @property
    def follows(self) -> bool:
        """Whether the caller asked to be told how far the call is."""
        return self._report is not None

    @property
    def in_task(self) -> bool:
        """Whether the call was answered with a task, and so may ask for input and take its time."""
        return self._ask is not None

    async def ask(self, name: str, request: dict[str, Any], *, unless: anyio.Event | None = None) -> dict[str, Any]:
        """Ask the client for input (`{"method": "elicitation/create", "params": {…}}`) and return its answer.

        Only a task can wait for it: any other call is refused, saying that its client must declare the extension. In
        a task that is begun anew after a crash, the same request under the same name gets the answer it got before.
        Once `unless` is set nothing is asked any more, and the answer is `{"action": "cancel"}`.
        """
        if self._open or (self.writing is not None and self.writing.is_open):
            raise RuntimeError("a call that has begun to write can't wait for input: ask before it writes")
        if self._ask is None:
            raise lacking_tasks()
        return await self._ask(name, request, unless)

    async def elicit(
        self, message: str, schema: dict[str, Any], *, name: str = "input", unless: anyio.Event | None = None
    ) -> dict[str, Any]:
        """Ask the user to fill in a form and return `{"action": "accept", "content": {…}}`, or what else they did."""
        form = {"mode": "form", "message": message, "requestedSchema": schema}
        return await self.ask(name, {"method": "elicitation/create", "params": form}, unless=unless)

    async def _derived_key(self, address: str, arguments: dict[str, Any]) -> str:
        call = f"{address}\n{arguments_digest(self.principal.id, arguments)}"
        self._nested[call] += 1
        said = f"{self.idempotency_key}\n{call}\n{self._nested[call]}"
        return await self.service.digests.nested(self.tenant, said)
