"""A gateway is ready when its database and those it asks are there, and says which is not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tausestack.database.mark import make_mark, whose
from tausestack.errors import Unavailable
from tausestack_runtime.gateway.readiness import ANOTHERS, AWAY, DATABASE_SECONDS, Readiness

pytestmark = [pytest.mark.anyio, pytest.mark.covers("health:ready")]

WELL_ABOVE_SECONDS = 10.0


async def follow() -> None:
    """Be told of changes at once."""


def written() -> str:
    """Have a ledger that can be written."""
    return ""


async def none_follows() -> None:
    raise Unavailable("auth does not answer: nothing can be authorised")


async def test_on_files_nothing_is_asked(tmp_path: Path) -> None:
    status, told = await Readiness(follow, written, tmp_path, None)()
    assert (status, told["status"]) == (200, "ready")


async def test_a_ledger_that_can_not_be_written_is_told(tmp_path: Path, postgres_url: str) -> None:
    full = "the ledger can't be written (No space left on device)"
    gone = f"postgresql://owner@/nowhere?host={tmp_path}"
    for url, away, reason in (
        (None, ["ledger"], full),
        (postgres_url, ["ledger"], full),
        (gone, ["database", "ledger"], f"{AWAY}; {full}"),
    ):
        status, told = await Readiness(follow, lambda: full, tmp_path, url)()
        assert (status, told) == (503, {"status": "unavailable", "away": away, "reason": reason})


async def test_who_is_not_followed_is_told(tmp_path: Path, postgres_url: str) -> None:
    for url in (None, postgres_url):
        status, told = await Readiness(none_follows, written, tmp_path, url)()
        assert (status, told["status"], told["reason"]) == (
            503,
            "starting",
            "auth does not answer: nothing can be authorised",
        )


async def test_a_database_of_its_own_is_ready_and_anothers_is_not(tmp_path: Path, postgres_url: str) -> None:
    assert (await Readiness(follow, written, tmp_path, postgres_url)())[0] == 200
    make_mark(tmp_path)
    assert whose(tmp_path, postgres_url) is None
    assert (await Readiness(follow, written, tmp_path, postgres_url)())[0] == 200
    status, told = await Readiness(follow, written, tmp_path / "other", postgres_url)()
    assert (status, told) == (503, {"status": "unavailable", "away": ["database"], "reason": ANOTHERS})


async def test_a_database_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    status, told = await Readiness(follow, written, tmp_path, f"postgresql://owner@/nowhere?host={tmp_path}")()
    assert (status, told) == (503, {"status": "unavailable", "away": ["database"], "reason": AWAY})


async def test_a_database_that_never_answers_holds_nobody_up_and_is_asked_by_one(tmp_path: Path) -> None:
    asked: list[asyncio.StreamWriter] = []

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ready = Readiness(follow, written, tmp_path, f"postgresql://owner@127.0.0.1:{port}/stack?sslmode=disable")
    began = time.monotonic()
    answers = await asyncio.gather(*(ready() for _ in range(20)))
    assert {status for status, _ in answers} == {503}
    assert DATABASE_SECONDS <= time.monotonic() - began < WELL_ABOVE_SECONDS
    assert len(asked) == 1
    server.close()
    await server.wait_closed()
