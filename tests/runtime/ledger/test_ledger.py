"""The ledger: what it adds up, what it keeps in order, and what it notices."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tausestack.errors import InvalidArguments
from tausestack_runtime.ledger import Ledger, Line, Verification

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger of a test lies."""
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    """An open ledger."""
    made = Ledger(path)
    made.start()
    yield made
    await made.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def line(call: str, **changes: Any) -> Line:
    values: dict[str, Any] = {
        "tenant": "acme",
        "kind": "result",
        "at": "2026-11-23T10:00:00+00:00",
        "principal": "key:1",
        "server": "billing",
        "tool": "list_plans",
        "outcome": "done",
        "bytes_in": 10,
        "bytes_out": 100,
        "duration_us": 1000,
        "price": "standard",
    }
    return Line(call=call, **{**values, **changes})


@pytest.mark.covers("ledger:usage")
async def test_usage_is_summed_up_by_tool_within_a_period(ledger: Ledger) -> None:
    await ledger.append(
        line("1"),
        line("2", outcome="failed", error="tool_error"),
        line("3", tool="create_invoice", at="2026-11-23T10:00:00.500000+00:00", price="premium"),
        line("4", kind="intent", outcome=""),
        line("5", kind="denied", outcome="denied"),
        line("6", at="2026-11-24T00:00:00+00:00"),
        line("7", tenant="globex"),
    )
    found = await ledger.usage("acme", since="2026-11-23T10:00:00Z", until="2026-11-23T19:00:00-05:00")
    assert found["lines"] == 3
    assert found["prices"] == {"premium": 1, "standard": 2}
    create, plans = found["tools"]
    assert (create["tool"], create["calls"]) == ("create_invoice", 1)
    assert plans == {
        "server": "billing",
        "tool": "list_plans",
        "calls": 2,
        "failed": 1,
        "in_doubt": 0,
        "cancelled": 0,
        "bytes_in": 20,
        "bytes_out": 200,
        "duration_us": 2000,
    }
    assert (await ledger.usage("acme"))["lines"] == 4
    assert (await ledger.usage("acme", since="2026-11-23T10:00:00.1"))["lines"] == 2
    assert (await ledger.usage("initech"))["tools"] == []
    with pytest.raises(InvalidArguments):
        await ledger.usage("acme", since="yesterday")


@pytest.mark.covers("ledger:once")
async def test_a_call_is_counted_once(ledger: Ledger) -> None:
    await ledger.append(line("1", kind="intent"), line("1"))
    await asyncio.gather(*(ledger.append(line("1", bytes_in=n)) for n in range(5)))
    await ledger.append(line("1", tenant="globex"))
    assert (await ledger.usage("acme"))["tools"][0]["bytes_in"] == 10
    assert await ledger.verify("acme") == Verification(True, 2)
    assert await ledger.verify("globex") == Verification(True, 1)


@pytest.mark.covers("ledger:audit")
async def test_entries_are_listed_newest_first_in_pages_and_only_to_their_tenant(ledger: Ledger) -> None:
    for n in range(7):
        await ledger.append(line(f"c{n}"), line(f"g{n}", tenant="globex"))
    first = await ledger.audit("acme", limit=3)
    second = await ledger.audit("acme", limit=100, before=first[-1]["seq"])
    assert [entry["call"] for entry in first + second] == [f"c{n}" for n in reversed(range(7))]
    assert [entry["seq"] for entry in first + second] == list(range(7, 0, -1))
    assert first[0]["principal"] == "key:1"
    assert first[0]["duration_us"] == 1000


@pytest.mark.covers("ledger:crowd")
async def test_a_lone_line_is_written_at_once_and_a_crowds_lines_wait_for_each_other(path: Path) -> None:
    others = 0
    ledger = Ledger(path, crowd=lambda: others)
    ledger.start()
    for n in range(20):
        await ledger.append(line(f"alone-{n}"))
    assert ledger.groups == 20

    others = 100
    first = asyncio.ensure_future(ledger.append(line("first")))
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.gather(*(ledger.append(line(f"crowd-{n}")) for n in range(20)))
    await first
    assert ledger.groups == 21

    last = asyncio.ensure_future(ledger.append(line("last")))
    await asyncio.sleep(0)
    await ledger.close()
    await last
    assert await ledger.verify("acme") == Verification(True, 42)


@pytest.mark.covers("ledger:group-commit")
async def test_appends_that_wait_together_are_committed_together(ledger: Ledger) -> None:
    before = ledger.groups
    await asyncio.gather(*(ledger.append(line(str(n), tenant=f"t{n % 7}")) for n in range(1000)))
    assert ledger.groups - before < 100
    for n in range(7):
        assert (await ledger.verify(f"t{n}")).ok


@pytest.mark.covers("ledger:chain")
async def test_the_chain_goes_on_over_a_restart(path: Path) -> None:
    for n in range(3):
        ledger = Ledger(path)
        ledger.start()
        await ledger.append(line(str(n)))
        await ledger.close()
    ledger = Ledger(path)
    ledger.start()
    assert await ledger.verify("acme") == Verification(True, 3)
    assert await ledger.verify("nobody") == Verification(True, 0)
    await ledger.close()
    assert mode(path) == 0o600


@pytest.mark.covers("ledger:chain")
async def test_two_writers_of_one_file_do_not_fork_the_chain(ledger: Ledger, path: Path) -> None:
    other = Ledger(path)
    other.start()
    await asyncio.gather(
        *(writer.append(line(f"{n}{writer is other}")) for n in range(60) for writer in (ledger, other))
    )
    for n in range(20):
        await ledger.append(line(f"x{n}"))
        await other.append(line(f"y{n}"))
    await other.close()
    assert await ledger.verify("acme") == Verification(True, 160)


TAMPERING: dict[str, tuple[list[str], int]] = {
    "a field": (["UPDATE lines SET bytes_out = 1 WHERE seq = 4"], 4),
    "a principal": (["UPDATE lines SET principal = 'else' WHERE seq = 4"], 4),
    "a value moved to another field": (["UPDATE lines SET run = tool, tool = '' WHERE seq = 4"], 4),
    "the first line gone": (["DELETE FROM lines WHERE seq = 1"], 1),
    "a line gone": (["DELETE FROM lines WHERE seq = 5"], 5),
    "the last lines gone": (["DELETE FROM lines WHERE seq > 7"], 8),
    "every line gone": (["DELETE FROM lines"], 1),
    "a line gone and the rest renumbered": (
        ["DELETE FROM lines WHERE seq = 5", *(f"UPDATE lines SET seq = {n - 1} WHERE seq = {n}" for n in range(6, 11))],
        5,
    ),
    "two lines exchanged": (
        [f"UPDATE lines SET seq = {new} WHERE seq = {old}" for old, new in ((3, 99), (4, 3), (99, 4))],
        3,
    ),
    "a line of another tenant taken over": (
        [
            "DELETE FROM lines WHERE tenant = 'acme' AND seq = 2",
            "UPDATE lines SET tenant = 'acme' WHERE tenant = 'globex' AND seq = 2",
        ],
        2,
    ),
    "the head": (["UPDATE heads SET hash = 'x'"], 10),
    "the head gone": (["DELETE FROM heads"], 1),
}


@pytest.mark.covers("ledger:tampering")
@pytest.mark.parametrize("what", TAMPERING)
async def test_tampering_is_found_where_it_happened(ledger: Ledger, path: Path, what: str) -> None:
    tamper, first_bad = TAMPERING[what]
    for n in range(10):
        await ledger.append(line(str(n)), line(f"g{n}", tenant="globex"))
    assert (await ledger.verify("acme")).ok
    db = sqlite3.connect(path)
    for statement in tamper:
        db.execute(statement)
    db.commit()
    db.close()
    found = await ledger.verify("acme")
    assert (found.ok, found.first_bad) == (False, first_bad)


@pytest.mark.covers("ledger:failure")
async def test_a_line_that_is_not_one_harms_no_other(ledger: Ledger) -> None:
    bad = [line("bad", rule=None), line("bad", bytes_in=1.5), line("bad", bytes_in=2**70), line("bad", rule="\ud800")]
    outcomes = await asyncio.gather(
        *(ledger.append(one) for pair in zip(bad, [line(str(n)) for n in range(4)], strict=True) for one in pair),
        return_exceptions=True,
    )
    assert [outcome is None for outcome in outcomes] == [False, True] * 4
    assert await ledger.verify("acme") == Verification(True, 4)


@pytest.mark.covers("ledger:failure")
async def test_lines_of_one_append_are_written_together_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(TypeError):
        await ledger.append(line("1"), line("2", rule=None))
    assert await ledger.verify("acme") == Verification(True, 0)


@pytest.mark.covers("ledger:close")
async def test_closing_writes_what_waits_and_then_takes_no_more(path: Path) -> None:
    ledger = Ledger(path)
    with pytest.raises(RuntimeError):
        await ledger.append(line("0"))
    ledger.start()
    appends = asyncio.gather(*(ledger.append(line(str(n))) for n in range(500)))
    first = asyncio.ensure_future(ledger.append(line("first")))
    await first
    await ledger.close()
    await appends
    with pytest.raises(RuntimeError):
        await ledger.append(line("late"))
    await ledger.close()
    assert await ledger.verify("acme") == Verification(True, 501)


@pytest.mark.covers("ledger:close")
async def test_a_cancelled_append_still_leaves_its_line(ledger: Ledger) -> None:
    tasks = [asyncio.ensure_future(ledger.append(line(str(n)))) for n in range(50)]
    await ledger.append(line("first"))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await ledger.append(line("last"))
    assert await ledger.verify("acme") == Verification(True, 52)
