"""Following a run's events as the gateway does, at the agents service itself."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

Told = tuple[int, str, dict[str, Any]]


def parsed(block: str) -> Told:
    """Return an event of a stream: its number, its kind, its JSON."""
    fields = dict(line.split(": ", 1) for line in block.splitlines())
    return int(fields["id"]), fields["event"], json.loads(fields["data"])


@asynccontextmanager
async def following_run(caller: Any, run: str, after: int = 0) -> AsyncGenerator[AsyncGenerator[str]]:
    """Give the blocks of a run's stream, comments among them, as they come."""
    headers = {"authorization": f"Bearer {caller.assertion}", "last-event-id": str(after)}

    async def blocks(reply: httpx2.Response) -> AsyncGenerator[str]:
        text = ""
        async for piece in reply.aiter_text():
            text += piece
            *whole, text = text.split("\n\n")
            for block in whole:
                yield block

    async with caller.http.stream("GET", f"/http/runs/{run}/events", headers=headers, timeout=60) as reply:
        assert reply.status_code == 200
        yield blocks(reply)


async def log_of(caller: Any, run: str) -> list[Told]:
    """Return all events of a run that has ended."""
    async with following_run(caller, run) as blocks:
        return [parsed(block) async for block in blocks]
