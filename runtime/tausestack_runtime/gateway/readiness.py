"""Whether a gateway can serve: database and ledger are there, and those that it asks about callers answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tausestack.contract import VERSION
from tausestack.database.mark import IS_MARKED, MARK, own_mark
from tausestack.errors import TauseError

DATABASE_SECONDS = 2.0
"""How long PostgreSQL may take to answer before it counts as away."""
HELD_SECONDS = 0.5
"""How long its answer holds: whoever asks more often is told the same."""
AWAY = "the database can't be reached"
ANOTHERS = "the database belongs to another installation: the log says what to do"

Follow = Callable[[], Awaitable[None]]


class Readiness:
    """Tells how a gateway stands; asks for itself, so that no pool and no tenant's turn is waited for."""

    def __init__(self, follow: Follow, ledger: Callable[[], str], data: Path, url: str | None) -> None:
        """`follow` raises where auth or registry does not answer, `ledger` tells why it can't be written, if so.

        `url` None: the data are in files.
        """
        self._follow, self._ledger = follow, ledger
        self._data, self._url = data, url
        self._asking: asyncio.Task[str] | None = None
        self._asked_at = float("-inf")

    async def __call__(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of an answer: 200, or 503 with what is away or is starting."""
        asked = {"database": await self._database(), "ledger": self._ledger()}
        if away := {name: why for name, why in asked.items() if why}:
            return 503, {"status": "unavailable", "away": list(away), "reason": "; ".join(away.values())}
        try:
            await self._follow()
        except TauseError as error:
            return 503, {"status": "starting", "reason": error.message}
        return 200, {"status": "ready", "version": VERSION}

    async def _database(self) -> str:
        """Return what is wrong with the database, nothing where all is well; all who ask at once share one answer."""
        if self._url is None:
            return ""
        if self._asking is None or (self._asking.done() and time.monotonic() - self._asked_at > HELD_SECONDS):
            self._asking, self._asked_at = asyncio.create_task(_wrong(self._url, self._data)), time.monotonic()
        return await asyncio.shield(self._asking)


async def _wrong(url: str, data: Path) -> str:
    import psycopg  # a stack on files never needs it

    from tausestack.database.ownership import psycopg_url

    plain = psycopg_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            connection = await psycopg.AsyncConnection.connect(plain, autocommit=True)
            try:
                mark = await _mark(connection)
            finally:
                await connection.close()
    except (psycopg.Error, TimeoutError):
        return AWAY
    return "" if mark is None or mark == own_mark(data) else ANOTHERS


async def _mark(connection: Any) -> str | None:
    """Return whose mark the database bears, None where it bears none yet."""
    if not (await (await connection.execute(IS_MARKED)).fetchone())[0]:
        return None
    return (await (await connection.execute(MARK)).fetchone())[0]
