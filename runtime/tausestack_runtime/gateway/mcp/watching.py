"""A stream outlives no credential, and keeps no gateway from ending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tausestack.errors import Unavailable
from tausestack_runtime.gateway.identity import Credential, Identity
from tausestack_runtime.gateway.snapshots import FRESH_SECONDS


@asynccontextmanager
async def watched(
    identity: Identity,
    credential: Credential,
    tenant: str,
    leaving: asyncio.Event,
    server: str | None = None,
    *,
    there: Callable[[], Awaitable[object]] | None = None,
) -> AsyncGenerator[asyncio.Task[None]]:
    """Give a task that ends when the gateway does, or with what a new request would be refused with.

    A stream outlives no credential, and keeps no gateway from ending. `there` raises once what it is of is gone.
    """

    async def until_ended() -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(leaving.wait(), FRESH_SECONDS)
                return
            await identity.principal(credential, tenant, server)
            if there is not None:
                with suppress(Unavailable):  # whoever can't be asked now is asked again
                    await there()

    task = asyncio.create_task(until_ended())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: whoever keeps the stream has raised it
