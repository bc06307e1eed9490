"""What is kept of requests that are over, for clients that come back for it."""

from __future__ import annotations

import asyncio

import pytest

from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.works import MAX_OVER, MAX_OVER_BYTES, Work, Works

pytestmark = pytest.mark.anyio


async def over(works: Works, tenant: str, answer: bytes = b"{}") -> tuple[Work, Session]:
    """Have a request of a tenant's answered, and return its work and session."""
    session = Session(f"s-{tenant}", tenant, None, "key:1", "2025-11-25", {}, {}, 0.0)
    work = works.begin(session, streams=True)

    async def answering() -> None:
        work.answer(answer)

    works.run(work, 1, answering())
    while not work.over:  # noqa: ASYNC110 nothing tells of a work's end
        await asyncio.sleep(0)
    return work, session


@pytest.mark.covers("earlier:kept-apart")
@pytest.mark.parametrize(("many", "answer"), [(2 * MAX_OVER, b"{}"), (40, b"x" * (MAX_OVER_BYTES // 16))])
async def test_a_tenant_that_asks_much_takes_nothing_of_what_others_can_come_back_for(many: int, answer: bytes) -> None:
    works = Works(1)
    quiet, session = await over(works, "globex")
    first, loud = await over(works, "acme", answer)
    for _ in range(many):
        last, _ = await over(works, "acme", answer)
    assert works.find(f"{quiet.id}-0", session) == (quiet, 0)
    assert works.find(f"{first.id}-0", loud) is None
    assert works.find(f"{last.id}-0", loud) == (last, 0)


@pytest.mark.covers("earlier:cancel")
@pytest.mark.parametrize("number", ["", "-1", "²", "9" * 5_000, "0x1", "1-1"])
async def test_an_event_id_that_nobody_was_given_finds_nothing(number: str) -> None:
    works = Works(1)
    work, session = await over(works, "acme")
    assert works.find(f"{work.id}-{number}", session) is None
