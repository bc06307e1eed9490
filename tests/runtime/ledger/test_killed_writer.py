"""A ledger whose process is killed, or whose disk is full."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ledgers import KEYS, file_of, line
from tausestack_runtime.ledger import Ledger

TENANTS = 5
CASES, SOAK_CASES = 100, 1_000
PRELUDE = """
    import asyncio, json, os, resource, sys, time
    from dataclasses import asdict
    from pathlib import Path
    from ledgers import KEYS, line
    from tausestack_runtime.ledger import Ledger
"""
WRITER = textwrap.dedent(
    PRELUDE
    + """
    async def client(ledger, name):
        n = 0
        while True:
            call, tenant = f"{sys.argv[2]}-{name}-{n}", f"t{n % 5}"
            await ledger.append(line(call, tenant=tenant, kind="intent", outcome=""))
            os.write(1, f"{tenant} {call} intent\\n".encode())
            await ledger.append(line(call, tenant=tenant))
            os.write(1, f"{tenant} {call} result\\n".encode())
            n += 1

    async def main():
        ledger = Ledger(Path(sys.argv[1]), KEYS)
        await ledger.start()
        await asyncio.gather(*(client(ledger, name) for name in range(20)))

    asyncio.run(main())
"""
)
SUPPORT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def acknowledged_until_killed(data: Path, turn: int, after: int) -> set[tuple[str, str, str]]:
    """Return the lines that a writer called durable before it was killed: tenant, call, kind."""
    command = [sys.executable, "-c", WRITER, data, str(turn)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=SUPPORT) as writer:
        assert writer.stdout is not None
        lines: list[str] = []
        for one in writer.stdout:
            lines.append(one)
            if len(lines) == after:
                writer.kill()  # what it had written to the pipe is still read
    told = [one.split() for one in lines if one.endswith((" intent\n", " result\n"))]
    return {(tenant, call, kind) for tenant, call, kind in told}


@pytest.mark.anyio
@pytest.mark.covers("ledger:kill", "ledger:in-doubt")
async def test_killing_the_writer_loses_no_acknowledged_line_and_leaves_no_call_without_an_end(tmp_path: Path) -> None:
    acknowledged: set[tuple[str, str, str]] = set()
    for turn in range(5):
        acknowledged |= acknowledged_until_killed(tmp_path, turn, after=400 + 37 * turn)
    ledger = Ledger(tmp_path, KEYS)
    await ledger.start()
    kept: set[tuple[str, str, str]] = set()
    in_doubt = 0
    for tenant in (f"t{n}" for n in range(TENANTS)):
        found = await ledger.verify(tenant)
        assert (found.ok, found.under_way) == (True, 0), found
        entries = await ledger.audit(tenant, limit=1_000_000)
        results = [entry["call"] for entry in entries if entry["kind"] == "result"]
        intents = {entry["call"] for entry in entries if entry["kind"] == "intent"}
        assert len(results) == len(set(results)) == (await ledger.usage(tenant))["lines"]
        assert set(results) == intents
        doubtful = [entry for entry in entries if entry["outcome"] == "in_doubt"]
        assert all((one["amount_minor"], one["tool"]) == (0, "list_plans") for one in doubtful)
        assert not {(tenant, one["call"], "result") for one in doubtful} & acknowledged
        in_doubt += len(doubtful)
        kept |= {(tenant, entry["call"], entry["kind"]) for entry in entries}
    await ledger.close()
    assert len(acknowledged) > 2000
    assert acknowledged <= kept
    assert in_doubt > 0


@pytest.mark.anyio
@pytest.mark.covers("ledger:in-doubt")
async def test_calls_of_a_gateway_that_lives_are_not_ended_by_another_that_starts(tmp_path: Path) -> None:
    one, two = (Ledger(tmp_path, KEYS, gateway=number, gateways=2) for number in (1, 2))
    await one.start()
    await two.start()
    for number, ledger in ((1, one), (2, two)):
        await ledger.append(line(f"of-{number}", kind="intent", outcome=""))
    again = Ledger(tmp_path, KEYS, gateway=2, gateways=2)  # as if the second had died
    await again.start()
    assert [(entry["call"], entry["outcome"]) for entry in await one.audit("acme", limit=1)] == [("of-2", "in_doubt")]
    assert (await one.verify("acme")).under_way == 1
    await one.append(line("of-1"))
    found = await one.verify("acme")
    assert (found.ok, found.under_way, found.calls) == (True, 0, 2)
    await one.append(line("cut-short", kind="intent", outcome=""))
    fewer = Ledger(tmp_path, KEYS, gateway=1, gateways=1)  # the next stack has but one
    await fewer.start()
    assert (await fewer.verify("acme")).under_way == 0
    for ledger in (one, two, again, fewer):
        await ledger.close()


async def torn(data: Path, chance: random.Random, whole: bytes, acknowledged: int) -> None:
    """Have a file end as that of a writer that died in the middle of writing, and check what a start makes of it."""
    path = file_of(data)
    begun = chance.randbytes(1) * chance.randrange(1, 900) if chance.random() < 0.5 else b'{"seq":1' + whole[1024:1700]
    path.write_bytes(whole + begun[: chance.randrange(1, len(begun) + 1)])
    ledger = Ledger(data, KEYS)
    await ledger.start()
    found = await ledger.verify("acme")
    assert (found.ok, found.lines, found.under_way) == (True, acknowledged, 0), found
    await ledger.append(line(f"after-{chance.random()}"))
    found = await ledger.verify("acme")
    assert (found.ok, found.lines) == (True, acknowledged + 1), found
    await ledger.close()


async def damaged(data: Path, chance: random.Random, whole: bytes) -> None:
    """Have a file truncated or flipped somewhere, and check that it is found, and that what is before it stands."""
    path, place = file_of(data), chance.randrange(len(whole))
    bad = bytearray(whole)
    if chance.random() < 0.5:
        del bad[place:]
    else:
        bad[place] ^= 1 << chance.randrange(8)
    path.write_bytes(bad)
    ledger = Ledger(data, KEYS)
    await ledger.start()
    found = await ledger.verify("acme")
    assert not found.ok
    assert found.first_bad is not None
    intact = whole[1024:place].count(b"\n")
    assert found.first_bad > intact, (found, intact)
    await ledger.append(line(f"after-{chance.random()}"))
    [last] = await ledger.audit("acme", limit=1)
    assert last["call"].startswith("after-")
    assert not (await ledger.verify("acme")).ok
    await ledger.close()


async def tear(data: Path, cases: int) -> None:
    """Tear and damage a file so many times each, at random."""
    chance = random.Random(20261126)
    ledger = Ledger(data, KEYS)
    await ledger.start()
    for n in range(30):
        await ledger.append(line(str(n), rule="x" * chance.randrange(300)))
    await ledger.close()
    whole = file_of(data).read_bytes()
    for case in range(cases):
        if case % 2:
            await torn(data, chance, whole, 30)
        else:
            await damaged(data, chance, whole)


@pytest.mark.anyio
@pytest.mark.covers("ledger:torn")
async def test_a_torn_tail_is_cut_off_and_damage_is_found(tmp_path: Path) -> None:
    await tear(tmp_path, CASES)


@pytest.mark.anyio
@pytest.mark.soak
@pytest.mark.covers("ledger:torn")
async def test_a_thousand_torn_or_damaged_files(tmp_path: Path) -> None:
    await tear(tmp_path, SOAK_CASES)


FULL_DISK = textwrap.dedent(
    PRELUDE
    + """
    async def main():
        ledger = Ledger(Path(sys.argv[1]), KEYS)
        await ledger.start()
        await ledger.append(line("first", rule="x" * 2000), line("sent", kind="intent", outcome=""))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        appends = (ledger.append(line(f"{n}", rule="x" * 2000)) for n in range(200))
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        sent = await asyncio.gather(ledger.append(line("sent", rule="x" * 2000)), return_exceptions=True)
        other = await asyncio.gather(ledger.append(line("other", tenant="globex")), return_exceptions=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        deadline = time.monotonic() + 60
        while (await ledger.verify("acme")).under_way and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        settled = asdict(await ledger.verify("acme"))
        lines = await ledger.audit("acme", limit=500)
        (end,) = [one for one in lines if one["call"] == "sent" and one["kind"] != "intent"]
        await ledger.append(line("after"), line("sent"))
        found = await ledger.verify("acme")
        await ledger.close()
        kept = sum(1 for outcome in outcomes if outcome is None)
        codes = [outcome.code for outcome in (*outcomes, *sent) if outcome is not None]
        print(json.dumps({"kept": kept, "codes": codes, "other": other == [None], "settled": settled, "end": end,
                          **asdict(found)}))

    asyncio.run(main())
"""
)


@pytest.mark.covers("ledger:failure")
def test_a_full_disk_is_told_to_whoever_appends_and_harms_nothing_before_or_after(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", FULL_DISK, tmp_path]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=SUPPORT).stdout
    assert "the ledger can't be written" in said  # its log
    found = json.loads(said.splitlines()[-1])
    *refused, of_one_sent = found["codes"]
    assert set(refused) == {"unavailable"}
    assert of_one_sent == "in_doubt"
    assert found["kept"] + len(refused) == 200
    assert found["other"] is True
    assert (found["ok"], found["under_way"]) == (True, 0)
    assert (found["settled"]["ok"], found["settled"]["under_way"]) == (True, 0)
    assert (found["end"]["outcome"], found["end"].get("amount_minor", 0)) == ("in_doubt", 0)
    assert found["lines"] == found["settled"]["lines"] + 1 == found["kept"] + 4  # a call has one end


@pytest.mark.covers("ledger:failure")
def test_what_is_owed_is_written_at_the_latest_when_the_ledger_closes_or_starts(tmp_path: Path) -> None:
    for place, lifted in ((tmp_path / "one", "True"), (tmp_path / "two", "")):
        command = [sys.executable, "-W", "error", "-c", CLOSED_FULL, place, lifted]
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=SUPPORT).stdout
        assert json.loads(said.splitlines()[-1]) == [bool(not lifted), 3, True, 0]


CLOSED_FULL = textwrap.dedent(
    PRELUDE
    + """
    async def main():
        ledger = Ledger(Path(sys.argv[1]), KEYS)
        await ledger.start()
        await ledger.append(line("first", rule="x" * 2000), line("sent", kind="intent", outcome=""))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
        (sent,) = await asyncio.gather(ledger.append(line("sent", rule="x" * 2000)), return_exceptions=True)
        assert sent.code == "in_doubt"
        assert "can't be written" in ledger.away
        if sys.argv[2]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await ledger.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        before = await ledger.verify("acme")
        await ledger.start()
        assert ledger.away == ""
        after = await ledger.verify("acme")
        await ledger.close()
        print(json.dumps([before.under_way == 1, after.lines, after.ok, after.under_way]))

    asyncio.run(main())
"""
)
