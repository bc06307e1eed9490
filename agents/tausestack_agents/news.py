"""What workers tell one another through PostgreSQL: that there is work, and that a run was cut off."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import psycopg
import sqlalchemy as sa
import structlog
from psycopg import AsyncConnection

from tausestack_agents.dispatch import CHANNEL
from tausestack_agents.worker import Worker

logger = structlog.get_logger("agents")

AGAIN_SECONDS = 2.0
"""How long to wait before listening anew where the database went away; work is looked for meanwhile, too."""


async def listen(url: str, worker: Worker) -> None:
    """Hear what is told, until cancelled: nothing depends on it but how soon a worker looks."""
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            await _hear(plain, worker.wake, worker.cancel)
        except psycopg.OperationalError as error:
            logger.warning("the database tells no news for now", reason=str(error).partition("\n")[0])
        await anyio.sleep(AGAIN_SECONDS)


async def _hear(url: str, wake: Callable[[], None], cancel: Callable[[str, str], None]) -> None:
    connection = await AsyncConnection.connect(url, autocommit=True)
    try:
        await connection.execute(f"LISTEN {CHANNEL}")
        wake()
        async for told in connection.notifies():
            tenant, _, run = told.payload.partition("/")
            if run:
                cancel(tenant, run)
            else:
                wake()
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()
