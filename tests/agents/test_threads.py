"""Threads: turns from outside once, history, summaries, deletion, pruning, and what all of it stores."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from both_databases import ON_BOTH
from tausestack.database import TenantDatabases
from tausestack.errors import Conflict, InvalidArguments, KeyReused, NotFound
from tausestack_agents.tables import SCHEMA, events, journal, runs
from tausestack_agents.threads import SUMMARY_CHARACTERS

pytestmark = pytest.mark.anyio

CLOCK = "mcp-server-time/get_current_time"


@ON_BOTH
@pytest.mark.covers("agents:message-once")
async def test_a_message_is_one_turn_however_often_and_however_fast_it_comes_in(agents: Any) -> None:
    found: list[str] = []

    async def come_in() -> None:
        run = await agents.acme.run("¿Qué hora es en Tokio?", thread="wa-57300", message="wamid.1")
        found.append(run["id"])

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(come_in)
    assert len(set(found)) == 1
    assert len(agents.gateway.sent(CLOCK)) == 1
    second = await agents.acme.run("¿Y en Madrid? ¿Qué hora es en Madrid?", thread="wa-57300", message="wamid.2")
    assert second["id"] not in found
    history = await agents.acme.call("get_thread", {"thread": "wa-57300"})
    assert [turn["message"] for turn in history["turns"]] == ["wamid.1", "wamid.2"]
    other = await agents.globex.run("¿Qué hora es en Tokio?", thread="wa-57300", message="wamid.1")
    assert other["id"] not in found
    with pytest.raises(KeyReused):
        await agents.acme.run("otra cosa", thread="wa-57300", message="wamid.1")
    with pytest.raises(InvalidArguments, match="thread"):
        await agents.acme.run("¿Qué hora es en Tokio?", message="wamid.3")


@ON_BOTH
@pytest.mark.covers("agents:thread-tools")
async def test_threads_are_listed_read_by_pages_and_deleted(agents: Any) -> None:
    for number in range(3):
        await agents.acme.run(f"Lee la clave ajustes/tema{number}", thread="t1")
    held = await agents.acme.run("Crea una factura para Ana por 10 USD de té", thread="t2")
    listed = (await agents.acme.call("list_threads"))["threads"]
    assert [(one["id"], one["turns"], one["status"]) for one in listed] == [
        ("t2", 1, "interrupted"),
        ("t1", 3, "success"),
    ]
    for before in (listed[0]["updated_at"], listed[0]["updated_at"].replace("+00:00", "Z")):
        page = (await agents.acme.call("list_threads", {"before": before}))["threads"]
        assert [one["id"] for one in page] == ["t1"]
    for tool, about in (("list_threads", {}), ("get_thread", {"thread": "t1"})):
        with pytest.raises(InvalidArguments, match="before has to be a time"):
            await agents.acme.call(tool, {**about, "before": "yesterday"})
    newest = (await agents.acme.call("get_thread", {"thread": "t1", "limit": 2}))["turns"]
    assert [turn["input"][-1] for turn in newest] == ["1", "2"]
    older = {"thread": "t1", "before": newest[0]["created_at"]}
    assert [turn["input"][-1] for turn in (await agents.acme.call("get_thread", older))["turns"]] == ["0"]
    for tool in ("get_thread", "delete_thread"):
        with pytest.raises(NotFound):
            await agents.globex.call(tool, {"thread": "t1"})
    with pytest.raises(Conflict, match="has not ended"):
        await agents.acme.call("delete_thread", {"thread": "t2"})
    assert await agents.acme.call("delete_thread", {"thread": "t1"}) == {"thread": "t1", "runs": 3}
    with pytest.raises(NotFound):
        await agents.acme.call("get_thread", {"thread": "t1"})
    assert await _rows(agents) == {"runs": 1, "journal": 3}
    assert [run["id"] for run in (await agents.acme.call("list_runs"))["runs"]] == [held["id"]]


@ON_BOTH
@pytest.mark.covers("agents:thread-tools")
async def test_pruning_deletes_what_has_been_idle_and_ended(agents: Any) -> None:
    for thread in ("t1", "t2"):
        await agents.acme.run("¿Qué hora es en Tokio?", thread=thread)
    await agents.acme.run("Crea una factura para Ana por 10 USD de té", thread="t3")
    await agents.globex.run("¿Qué hora es en Tokio?", thread="t1")
    assert await agents.acme.call("prune_threads", {"days": 1}) == {"threads": 0, "runs": 0}
    assert await agents.acme.call("prune_threads", {"days": 0}) == {"threads": 2, "runs": 2}
    assert [one["id"] for one in (await agents.acme.call("list_threads"))["threads"]] == ["t3"]
    assert [one["id"] for one in (await agents.globex.call("list_threads"))["threads"]] == ["t1"]
    for days in (1e5, 1e12, 1e300):
        assert await agents.acme.call("prune_threads", {"days": days}) == {"threads": 0, "runs": 0}


@ON_BOTH
@pytest.mark.covers("agents:thread-summary")
async def test_a_long_threads_earlier_turns_come_to_a_summary_and_its_history_keeps_them(agents: Any) -> None:
    for number in range(13):
        await agents.acme.run(f"Lee la clave ajustes/tema{number}", thread="t1")
    found = await agents.acme.call("get_thread", {"thread": "t1"})
    assert len(found["turns"]) == 13
    lines = found["summary"].splitlines()
    assert [line.split(" → ")[0] for line in lines] == [f"- Lee la clave ajustes/tema{number}" for number in range(5)]


@pytest.mark.covers("agents:storage-linear")
async def test_what_a_thread_stores_grows_linearly_with_its_turns(agents: Any, record_property: Any) -> None:
    await _grows_linearly(agents, 12, record_property)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.covers("agents:storage-linear")
async def test_two_hundred_turns_store_no_more_each_than_the_first_ones(agents: Any, record_property: Any) -> None:
    await _grows_linearly(agents, 200, record_property)


async def _grows_linearly(agents: Any, turns: int, record_property: Callable[[str, Any], None]) -> None:
    """Compare what the turns of each quarter stored, in bytes of content and in bytes of files."""
    sizes: list[tuple[int, int]] = []
    seconds: list[float] = []
    assert await _content(agents) == 0  # makes the file
    empty = _files(agents.data, "agents.db")
    quarter = turns // 4
    for number in range(turns):
        if number % quarter == 0:
            sizes.append((await _content(agents), _files(agents.data)))
            seconds.append(0)
        begun = time.process_time()
        await agents.acme.run(f"Lee la clave ajustes/tema{number:03}", thread="t1")
        seconds[-1] += (time.process_time() - begun) / quarter
    sizes.append((await _content(agents), _files(agents.data)))
    each = [((after[0] - before[0]) / quarter, (after[1] - before[1]) / quarter) for before, after in pairwise(sizes)]
    record_property("bytes_a_turn", each)
    print(f"bytes a turn, of content and of files, quarter by quarter: {each}")
    print(f"CPU seconds a turn: {[round(one, 3) for one in seconds]}")
    assert quarter < 10 or seconds[-1] < seconds[1] * 1.5  # of few turns it tells nothing
    assert each[-1][0] < each[0][0] * 1.1
    # The first quarter has the empty tables too; a page of a file is 4 KiB.
    assert each[-1][1] < each[1][1] * 1.25 + 4096
    assert await agents.checkpoints() == 0
    summary = (await agents.acme.call("get_thread", {"thread": "t1", "limit": 1}))["summary"]
    assert 0 < len(summary) <= SUMMARY_CHARACTERS
    assert (await agents.acme.call("prune_threads", {"days": 0})) == {"threads": 1, "runs": turns}
    assert await _content(agents) == 0
    print(f"bytes of files after the last turn {sizes[-1][1]}, pruned {_files(agents.data)}")
    assert _files(agents.data, "agents.db") <= empty * 4 / 3 + 4096  # what is less than a quarter stays to be used


async def _rows(agents: Any) -> dict[str, int]:
    databases = TenantDatabases(SCHEMA, data=agents.data, url=agents.database_url)
    async with databases.reading("acme") as db:
        found = {
            table.name: await db.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (runs, journal)
        }
    await databases.aclose()
    return found


async def _content(agents: Any) -> int:
    """Return how many bytes of text the runs, journals and events of a tenant hold."""
    databases, total = TenantDatabases(SCHEMA, data=agents.data, url=agents.database_url), 0
    async with databases.reading("acme") as db:
        for table in (runs, journal, events):
            sizes = [sa.func.coalesce(sa.func.sum(sa.func.length(sa.cast(column, sa.Text))), 0) for column in table.c]
            row = await db.one(sa.select(*sizes))
            assert row is not None
            total += sum(row)
    await databases.aclose()
    return total


def _files(data: Path, which: str = "*.db") -> int:
    """Return the bytes of a tenant's databases, what is in their write-ahead logs among them."""
    total = 0
    for path in (data / "tenants" / "acme").glob(which):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            total += connection.execute("PRAGMA page_count").fetchone()[0] * 4096
    return total
