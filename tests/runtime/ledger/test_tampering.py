"""Whatever is done to a chain's file behind the ledger's back is found, and said where."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ledgers import KEY, KEYS, file_of, line
from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.ledger import Ledger
from tausestack_runtime.ledger.head import HEAD_BYTES, Head, pack
from tausestack_runtime.ledger.register import register_of

pytestmark = pytest.mark.anyio
LINES = 10
FLIPS = 400


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """An open ledger with the lines of two tenants."""
    made = Ledger(tmp_path, KEYS)
    await made.start()
    for n in range(LINES):
        await made.append(line(str(n), kind="intent" if n == LINES - 1 else "result"))
        await made.append(line(f"g{n}", tenant="globex"))
    yield made
    await made.close()


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def changed(number: int, before: bytes, after: bytes) -> Callable[[Path], None]:
    """Return how a line is changed by somebody who does not know how hashes are made."""

    def change(path: Path) -> None:
        lines = lines_of(path)
        assert before in lines[number]
        lines[number] = lines[number].replace(before, after)
        path.write_bytes(b"".join(lines))

    return change


def without(*numbers: int) -> Callable[[Path], None]:
    """Return how lines are taken away."""

    def change(path: Path) -> None:
        path.write_bytes(b"".join(one for n, one in enumerate(lines_of(path)) if n not in numbers))

    return change


def exchanged(path: Path) -> None:
    lines = lines_of(path)
    lines[3], lines[4] = lines[4], lines[3]
    path.write_bytes(b"".join(lines))


def anothers(path: Path) -> None:
    """Have a line of another tenant's in its place."""
    lines, others = lines_of(path), lines_of(path.parent.parent / "globex" / path.name)
    lines[2] = others[2]
    path.write_bytes(b"".join(lines))


def anothers_file(path: Path) -> None:
    path.write_bytes((path.parent.parent / "globex" / path.name).read_bytes())


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + lines_of(path)[-1])


TAMPERING: dict[str, tuple[Callable[[Path], None], int]] = {
    "a field": (changed(4, b'"bytes_out":100', b'"bytes_out":101'), 4),
    "what it cost": (changed(4, b'"amount_minor":100', b'"amount_minor":1'), 4),
    "a hash": (changed(4, b'"hash":"', b'"hash":"0'), 4),
    "the first line gone": (without(1), 1),
    "a line gone": (without(5), 5),
    "the last line gone": (without(LINES), LINES),
    "the last lines gone": (without(8, 9, 10), 8),
    "every line gone": (without(*range(1, LINES + 1)), 1),
    "the head gone": (without(0), 1),
    "the head changed": (changed(0, b'"lines":10', b'"lines":11'), LINES + 1),
    "the head moved": (changed(0, b" ", b""), 1),
    "two lines exchanged": (exchanged, 3),
    "a line of another tenant taken over": (anothers, 2),
    "another tenant's file": (anothers_file, 1),
    "a line twice": (longer, LINES + 1),
    "everything gone": (lambda path: path.write_bytes(b""), 1),
    "the file gone": (lambda path: path.unlink(), 1),
}


@pytest.mark.covers("ledger:tampering")
@pytest.mark.parametrize("what", TAMPERING)
async def test_tampering_is_found_where_it_happened(ledger: Ledger, tmp_path: Path, what: str) -> None:
    tamper, first_bad = TAMPERING[what]
    before = await ledger.verify("acme")
    assert (before.ok, before.lines, before.calls, before.under_way) == (True, LINES, LINES - 1, 1)
    tamper(file_of(tmp_path))
    found = await ledger.verify("acme")
    assert (found.ok, found.first_bad) == (False, first_bad), found
    assert (await ledger.verify("globex")).ok


def flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ bit]))


async def flipped_everywhere(ledger: Ledger, path: Path, places: list[int], chance: random.Random) -> list[int]:
    """Flip one bit at each place, and return the places where that was not found."""
    missed: list[int] = []
    for place in places:
        bit = 1 << chance.randrange(8)
        flip(path, place, bit)
        if (await ledger.verify("acme")).ok:
            missed.append(place)
        flip(path, place, bit)
    assert (await ledger.verify("acme")).ok
    return missed


@pytest.mark.covers("ledger:one-byte")
async def test_one_flipped_bit_is_found_wherever_it_is(ledger: Ledger, tmp_path: Path) -> None:
    chance = random.Random(3)
    path = file_of(tmp_path)
    places = chance.sample(range(path.stat().st_size), FLIPS)
    assert await flipped_everywhere(ledger, path, places, chance) == []


@pytest.mark.soak
@pytest.mark.covers("ledger:one-byte")
async def test_one_flipped_bit_is_found_in_every_single_byte(ledger: Ledger, tmp_path: Path) -> None:
    path = file_of(tmp_path)
    assert await flipped_everywhere(ledger, path, list(range(path.stat().st_size)), random.Random(5)) == []


@pytest.mark.covers("ledger:running-head")
@pytest.mark.parametrize("known", ["to the writer", "to another"])
async def test_a_flipped_bit_of_a_running_ledgers_head_is_found(tmp_path: Path, ledger: Ledger, known: str) -> None:
    """The next line does not write over it as if nothing had been."""
    chance = random.Random(7)
    other = Ledger(tmp_path, KEYS, gateway=2, gateways=2)
    if known == "to another":
        await other.start()
    for number in range(25):
        tenant = f"t{number}"
        await ledger.append(line("a", tenant=tenant), line("b", tenant=tenant))
        if known == "to another":
            await other.append(line("c", tenant=tenant))
        path = file_of(tmp_path, tenant)
        raw = bytearray(path.read_bytes())
        at = chance.randrange(HEAD_BYTES)
        raw[at] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(raw))
        assert not (await ledger.verify(tenant)).ok, at
        await ledger.append(line("d", tenant=tenant))
        found = await ledger.verify(tenant)
        assert (found.ok, "the ledger was found damaged here" in str(found.wrong)) == (False, True), (at, found)
        lines = [one["kind"] for one in await ledger.audit(tenant)]
        assert lines[:2] == ["result", "gap"], "what came after is kept, and nothing before is lost"
        assert lines.count("result") == (4 if known == "to another" else 3)
    if known == "to another":
        await other.close()


@pytest.mark.covers("ledger:running-head")
@pytest.mark.parametrize("tail", ["of then", "of now"])
async def test_an_earlier_head_that_is_put_back_is_found(tmp_path: Path, ledger: Ledger, tail: str) -> None:
    """With its own tail, sealed as it was, it looks like a chain that is whole."""
    path = file_of(tmp_path, "acme")
    before = path.read_bytes()
    await ledger.append(line("later"), line("more"))
    after = path.read_bytes()
    path.write_bytes(before if tail == "of then" else before[:HEAD_BYTES] + after[HEAD_BYTES:])
    assert not (await ledger.verify("acme")).ok, "before anything is written to it"
    await ledger.append(line("next"))
    found = await ledger.verify("acme")
    assert (found.ok, "the ledger was found damaged here" in str(found.wrong)) == (False, True), found


REGISTER: dict[str, Callable[[Path], None]] = {
    "a head": changed(0, b'"lines":', b'"lines":1'),
    "a head's seal": changed(0, b'"seal":"', b'"seal":"0'),
    "an earlier head": lambda path: path.write_bytes(pack(Head(SYSTEM_TENANT), KEY) + path.read_bytes()[HEAD_BYTES:]),
    "no head": without(0),
    "the first tenant less": without(1),
    "the last tenant less": without(2),
    "a tenant's name": changed(1, b'"tool":"', b'"tool":"0'),
    "what is no line": changed(1, b'"kind":', b'"kind"'),
    "a line more": longer,
    "everything gone": lambda path: path.write_bytes(b""),
    "the file gone": lambda path: path.unlink(),
}
"""Of the register, which says whose file has to be there: two tenants began."""


@pytest.mark.covers("ledger:register")
@pytest.mark.parametrize("what", REGISTER)
async def test_whatever_is_done_to_the_register_hides_no_file_that_is_gone(
    ledger: Ledger, tmp_path: Path, what: str
) -> None:
    """The operator's check finds it, a tenant's whose file is there is as good as before, new tenants are served."""
    assert (await ledger.verify(SYSTEM_TENANT)).ok
    await ledger.close()
    REGISTER[what](register_of(tmp_path))
    file_of(tmp_path, "globex").unlink()
    found = await ledger.verify(SYSTEM_TENANT)
    assert (found.ok, str(found.wrong).startswith("in the register, ")) == (False, True), found
    assert not (await ledger.verify("globex")).ok
    assert (await ledger.verify("acme")).ok
    again = Ledger(tmp_path, KEYS)
    await again.start()
    await again.append(line("first", tenant="newcomer"))
    assert (await again.verify("newcomer")).ok
    await again.close()


@pytest.mark.covers("ledger:goes-on")
@pytest.mark.parametrize("what", TAMPERING)
async def test_after_damage_the_ledger_goes_on_and_forgives_nothing(ledger: Ledger, tmp_path: Path, what: str) -> None:
    tamper, _ = TAMPERING[what]
    await ledger.close()
    tamper(file_of(tmp_path))
    for _ in range(2):
        again = Ledger(tmp_path, KEYS)
        await again.start()
        await again.append(line("later"))
        [last] = await again.audit("acme", limit=1)
        assert last["call"] == "later"
        if what != "a line twice":  # what follows the end was never told of: it is cut off
            assert not (await again.verify("acme")).ok
        await again.close()


@pytest.mark.covers("ledger:goes-on")
async def test_a_chain_under_another_secret_is_not_taken_for_whole(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.close()
    other = Ledger(tmp_path, lambda: (b"another secret" * 3,))
    await other.start()
    found = await other.verify("acme")
    assert not found.ok
    await other.close()


@pytest.mark.covers("ledger:goes-on")
async def test_a_file_that_is_taken_away_from_a_running_ledger_is_missed(ledger: Ledger, tmp_path: Path) -> None:
    file_of(tmp_path).unlink()
    await ledger.append(line("later"))
    found = await ledger.verify("acme")
    assert not found.ok, found
