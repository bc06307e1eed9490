"""A call's write: effect, idempotency key and result commit together, once, when the tool returns."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from tausestack.mcp.digests import Digest

if TYPE_CHECKING:
    from tausestack.database import Connection, TenantDatabases


class Replayed(BaseException):
    """Ends a tool whose call was done before; no tool's `except Exception` can swallow it."""


class Writing:
    """The one writing transaction of a call; `key` None: the call bears no key, or its tool keeps none."""

    def __init__(
        self,
        databases: TenantDatabases,
        tenant: str,
        tool: str,
        key: str | None = None,
        digest: Callable[[], Awaitable[Digest]] | None = None,
    ) -> None:
        """`digest` makes what the key stands for."""
        self._databases = databases
        self._tenant = tenant
        self._tool = tool
        self._key = key
        self._make = digest
        self._digest: Digest | None = None
        self._connection: Connection | None = None
        self._entering = anyio.Lock()
        self.replay: dict[str, Any] | None = None
        """The result of the earlier call with this key, once it is known that there was one."""

    async def done_before(self) -> bool:
        """Return whether the call was done before, without waiting for the tenant's writer; sets `replay`."""
        if self._key is None:
            return False
        await self._stood_for()
        async with self._databases.reading(self._tenant) as connection:
            await self._look(connection)
        return self.replay is not None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Open the call's transaction, or join it; an exception that leaves it undoes all of it."""
        connection = await self._enter()
        try:
            yield connection
        except BaseException:
            await self.aclose()
            raise

    @property
    def is_open(self) -> bool:
        """Whether the transaction has begun and not ended."""
        return self._connection is not None

    async def commit(self, result: dict[str, Any]) -> None:
        """Make the effect, the key and the result lasting; a call that wrote nothing keeps its key all the same."""
        if self._connection is None and self._key is None:
            return
        digest = None if self._key is None else await self._stood_for()
        connection = await self._enter()
        if self._key is not None and digest is not None:
            await _idempotency().remember(connection, self._tool, self._key, digest.kept, result)
        self._connection = None
        await connection.commit()

    async def aclose(self) -> None:
        """Undo what is not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _enter(self) -> Connection:
        async with self._entering:
            if self._connection is None:
                if self._key is not None:
                    await self._stood_for()  # before the tenant's turn is taken
                begun = await self._databases.begin(self._tenant)
                try:
                    await self._look(begun)
                    if self.replay is not None:
                        raise Replayed
                except BaseException:
                    await begun.aclose()
                    raise
                self._connection = begun
            return self._connection

    async def _look(self, connection: Connection) -> None:
        if self._key is None:
            return
        found = await _idempotency().find(connection, self._tool, self._key)
        if found is None:
            return
        digest, result = found
        (await self._stood_for()).check(digest)
        self.replay = result

    async def _stood_for(self) -> Digest:
        if self._digest is None:
            assert self._make is not None
            self._digest = await self._make()
        return self._digest


def _idempotency() -> Any:
    # A server without a schema never needs SQLAlchemy, and may not have it.
    from tausestack.database import idempotency

    return idempotency
