"""The ledger: what it adds up, what it keeps in order, and what it keeps apart."""

from __future__ import annotations

import asyncio
import random
import stat
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledgers import KEY, KEYS, file_of, line
from tausestack.errors import InvalidArguments, InvalidRequest
from tausestack_runtime.ledger import Ledger, Line
from tausestack_runtime.ledger import ledger as ledger_module
from tausestack_runtime.ledger.verifying import verify

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """An open ledger."""
    made = Ledger(tmp_path, KEYS)
    await made.start()
    yield made
    await made.close()


def files(data: Path) -> list[Path]:
    return sorted(data.rglob("*"))


async def whole(ledger: Ledger, tenant: str, lines: int) -> None:
    """Check that a tenant's chain is whole and has so many lines."""
    found = await ledger.verify(tenant)
    assert (found.ok, found.lines) == (True, lines), found


@pytest.mark.covers("ledger:usage")
async def test_usage_is_summed_up_by_tool_within_a_period(ledger: Ledger) -> None:
    await ledger.append(
        line("1"),
        line("2", outcome="failed", error="tool_error"),
        line("3", tool="create_invoice", at="2026-11-23T10:00:00.500000+00:00", price="premium", amount_minor=1000),
        line("4", kind="intent", outcome=""),
        line("5", kind="denied", outcome="denied"),
        line("6", at="2026-11-24T00:00:00+00:00"),
    )
    await ledger.append(line("7", tenant="globex"))
    found = await ledger.usage("acme", since="2026-11-23T10:00:00Z", until="2026-11-23T19:00:00-05:00")
    assert (found["lines"], found["refused"]) == (3, 1)
    assert found["prices"] == {"premium": 1, "standard": 2}
    assert found["amounts"] == {"COP": 1200}
    create, plans = found["tools"]
    assert (create["tool"], create["calls"], create["amounts"]) == ("create_invoice", 1, {"COP": 1000})
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
        "amounts": {"COP": 200},
    }
    assert (await ledger.usage("acme"))["lines"] == 4
    assert (await ledger.usage("acme", since="2026-11-23T10:00:00.1"))["lines"] == 2
    assert (await ledger.usage("initech"))["tools"] == []
    with pytest.raises(InvalidArguments):
        await ledger.usage("acme", since="yesterday")


@pytest.mark.covers("ledger:usage-by")
async def test_usage_is_summed_up_by_principal_by_agent_and_by_day_and_each_sum_is_the_whole(ledger: Ledger) -> None:
    chance = random.Random(7)
    money = 0
    for n in range(300):
        amount = chance.randrange(10**14)
        money += amount
        day, who = 1 + n % 28, n % 5
        at = f"2026-11-{day:02}T12:00:00+00:00"
        agent = "concierge" if who == 3 else ""
        await ledger.append(line(str(n), at=at, principal=f"key:{who}", agent=agent, amount_minor=amount))
    found = await ledger.usage("acme")
    assert found["amounts"] == {"COP": money}
    for group in ("tools", "principals", "days"):
        assert sum(row["amounts"]["COP"] for row in found[group]) == money, group
        assert sum(row["calls"] for row in found[group]) == 300, group
    assert [row["principal"] for row in found["principals"]] == [f"key:{n}" for n in range(5)]
    assert [(row["agent"], row["calls"]) for row in found["agents"]] == [("concierge", 60)]
    assert [row["day"] for row in found["days"]] == [f"2026-11-{day:02}" for day in range(1, 29)]


@pytest.mark.covers("ledger:usage-by")
async def test_a_period_finds_each_of_its_lines_even_where_the_clock_went_backwards(ledger: Ledger) -> None:
    chance, begin = random.Random(11), datetime(2026, 11, 1, tzinfo=UTC)
    times = [begin + timedelta(minutes=n) for n in range(400)]
    for at in range(0, 400, 40):  # steps back and forth
        times[at : at + 20] = [time - timedelta(hours=chance.randrange(-90, 90)) for time in times[at : at + 20]]
    await ledger.append(*(line(str(n), at=time.isoformat()) for n, time in enumerate(times)))
    for _ in range(50):
        first, last = sorted(chance.sample(times, 2))
        found = await ledger.usage("acme", since=first.isoformat(), until=last.isoformat())
        assert found["lines"] == sum(first <= time < last for time in times)
    await whole(ledger, "acme", 400)


@pytest.mark.covers("ledger:once")
async def test_a_call_is_counted_once(ledger: Ledger) -> None:
    await ledger.append(line("1", kind="intent"), line("1"))
    await asyncio.gather(*(ledger.append(line("1", bytes_in=n)) for n in range(5)))
    await ledger.append(line("1", kind="denied"), line("2"), line("2"))
    await ledger.append(line("1", tenant="globex"))
    assert (await ledger.usage("acme"))["tools"][0]["bytes_in"] == 20
    await whole(ledger, "acme", 3)
    await whole(ledger, "globex", 1)


@pytest.mark.covers("ledger:audit")
async def test_entries_are_listed_newest_first_in_pages_and_only_to_their_tenant(ledger: Ledger) -> None:
    for n in range(700):
        await ledger.append(line(f"c{n}", rule="x" * (n % 97 * 40)), line(f"d{n}"))
        await ledger.append(line(f"g{n}", tenant="globex"))
    entries: list[dict[str, Any]] = []
    before: int | None = None
    while page := await ledger.audit("acme", limit=53, before=before):
        entries += page
        before = page[-1]["seq"]
    assert [entry["call"] for entry in entries] == [f"{kind}{n}" for n in reversed(range(700)) for kind in "dc"]
    assert [entry["seq"] for entry in entries] == list(range(1400, 0, -1))
    assert (entries[0]["principal"], entries[0]["duration_us"], entries[0]["agent"]) == ("key:1", 1000, "")
    assert await ledger.audit("acme", before=1) == []
    assert len(await ledger.audit("acme", limit=3, before=10**9)) == 3


@pytest.mark.covers("ledger:crowd")
async def test_a_lone_line_is_written_at_once_and_a_crowds_lines_wait_for_each_other(tmp_path: Path) -> None:
    others = 0
    ledger = Ledger(tmp_path, KEYS, crowd=lambda: others)
    await ledger.start()
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
    await whole(ledger, "acme", 42)


@pytest.mark.covers("ledger:crowd")
async def test_slow_calls_of_others_are_waited_for_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def crowd() -> int:
        asked.append(100)
        return 100

    ledger = Ledger(tmp_path, KEYS, crowd=crowd)
    await ledger.start()
    await ledger.append(line("first"))
    assert len(asked) == 2, "it is asked again when the moment is over"
    for n in range(20):
        await ledger.append(line(str(n)))
    assert len(asked) == 22
    await ledger.close()


@pytest.mark.covers("ledger:group-commit")
async def test_appends_that_wait_together_are_written_together(ledger: Ledger) -> None:
    before = ledger.groups
    await asyncio.gather(*(ledger.append(line(str(n), tenant=f"t{n % 7}")) for n in range(1000)))
    assert ledger.groups - before < 100
    for n in range(7):
        assert (await ledger.verify(f"t{n}")).ok


@pytest.mark.covers("ledger:group-commit")
async def test_more_tenants_than_files_are_kept_open_for(ledger: Ledger) -> None:
    for turn in range(2):
        await asyncio.gather(*(ledger.append(line(f"{turn}", tenant=f"tenant-{n}")) for n in range(300)))
    for n in range(0, 300, 37):
        await whole(ledger, f"tenant-{n}", 2)


@pytest.mark.covers("ledger:chain")
async def test_the_chain_goes_on_over_a_restart(tmp_path: Path) -> None:
    for n in range(3):
        ledger = Ledger(tmp_path, KEYS)
        await ledger.start()
        await ledger.append(line(str(n)))
        await ledger.close()
    ledger = Ledger(tmp_path, KEYS)
    await ledger.start()
    await whole(ledger, "acme", 3)
    await whole(ledger, "nobody", 0)
    await ledger.close()
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600


@pytest.mark.covers("ledger:rotation")
async def test_heads_are_sealed_anew_when_the_key_changes(tmp_path: Path) -> None:
    keys = [KEY]
    ledger = Ledger(tmp_path, lambda: keys)
    await ledger.start()
    for tenant in ("acme", "globex"):
        await ledger.append(line("1", tenant=tenant))
    keys.insert(0, b"another key" * 3)
    await ledger.append(line("2"))
    await ledger.reseal()
    del keys[1]
    for tenant, lines in (("acme", 2), ("globex", 1)):
        await whole(ledger, tenant, lines)
        await ledger.append(line("3", tenant=tenant))
        await whole(ledger, tenant, lines + 1)
    await ledger.close()
    keys[:] = [KEY]
    ledger = Ledger(tmp_path, lambda: keys)
    await ledger.start()
    assert not (await ledger.verify("acme")).ok
    await ledger.close()


@pytest.mark.covers("ledger:chain")
async def test_two_writers_of_one_file_do_not_fork_the_chain(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path, KEYS, gateway=2, gateways=2)
    await other.start()
    await asyncio.gather(
        *(writer.append(line(f"{n}{writer is other}")) for n in range(60) for writer in (ledger, other))
    )
    for n in range(20):
        await ledger.append(line(f"x{n}"))
        await other.append(line(f"y{n}"))
    await other.close()
    await whole(ledger, "acme", 160)


@pytest.mark.covers("ledger:failure")
async def test_a_line_that_is_not_one_harms_no_other(ledger: Ledger) -> None:
    async def outcome(one: Line) -> bool:
        try:
            await ledger.append(one)
        except TypeError:
            return False
        return True

    bad = [line("bad", rule=object()), line("bad", bytes_in=2**70), line("bad", rule="\ud800")]
    pairs = zip(bad, [line(str(n)) for n in range(3)], strict=True)
    assert await asyncio.gather(*(outcome(one) for pair in pairs for one in pair)) == [False, True] * 3
    await whole(ledger, "acme", 3)


@pytest.mark.covers("ledger:failure")
async def test_lines_of_one_append_are_written_together_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(TypeError):
        await ledger.append(line("1"), line("2", rule=object()))
    with pytest.raises(ValueError, match="several tenants"):
        await ledger.append(line("1"), line("2", tenant="globex"))
    await whole(ledger, "acme", 0)


@pytest.mark.covers("ledger:failure")
@pytest.mark.parametrize("tenant", ["../acme", "a/b", "", ".", "..", "a" * 64, "ACME", "acme\0"])
async def test_what_can_not_be_a_tenant_has_no_file(ledger: Ledger, tmp_path: Path, tenant: str) -> None:
    before = files(tmp_path)
    with pytest.raises(InvalidRequest):
        await ledger.append(line("1", tenant=tenant))
    with pytest.raises(InvalidRequest):
        await ledger.audit(tenant)
    assert files(tmp_path) == before


@pytest.mark.covers("ledger:close")
async def test_closing_writes_what_waits_and_then_takes_no_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, KEYS)
    with pytest.raises(RuntimeError):
        await ledger.append(line("0"))
    await ledger.start()
    appends = asyncio.gather(*(ledger.append(line(str(n))) for n in range(500)))
    first = asyncio.ensure_future(ledger.append(line("first")))
    await first
    await ledger.close()
    await appends
    with pytest.raises(RuntimeError):
        await ledger.append(line("late"))
    await ledger.close()
    await whole(ledger, "acme", 501)


@pytest.mark.covers("ledger:close")
async def test_a_cancelled_append_still_leaves_its_line(ledger: Ledger) -> None:
    tasks = [asyncio.ensure_future(ledger.append(line(str(n)))) for n in range(50)]
    await ledger.append(line("first"))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await ledger.append(line("last"))
    await whole(ledger, "acme", 52)


@pytest.mark.covers("ledger:long-reads")
async def test_a_tenant_reads_its_chain_from_end_to_end_once_at_a_time_and_keeps_no_other_waiting(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.append(line("1"))
    await ledger.append(line("2", tenant="globex"))
    let_on, reading, most = threading.Event(), list[str](), 0

    def slowly(data: Path, keys: Any, tenant: str, *more: Any) -> Any:
        nonlocal most
        reading.append(tenant)
        most = max(most, reading.count("acme"))
        if tenant == "acme":
            assert let_on.wait(60)
        found = verify(data, keys, tenant)
        reading.remove(tenant)
        return found

    monkeypatch.setattr(ledger_module, "verify", slowly)
    monkeypatch.setattr(ledger_module, "usage", slowly)
    waiting = [asyncio.ensure_future(ledger.verify("acme")) for _ in range(50)]
    waiting += [asyncio.ensure_future(ledger.usage("acme")) for _ in range(50)]
    try:
        async with asyncio.timeout(30):
            await whole(ledger, "globex", 1)
            assert [entry["seq"] for entry in await ledger.audit("acme")] == [1]
        assert not any(one.done() for one in waiting)
    finally:
        let_on.set()
    async with asyncio.timeout(60):
        assert all(found.ok for found in await asyncio.gather(*waiting))
    assert most == 1
