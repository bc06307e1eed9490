"""How soon another process takes up what a killed one left: at once on its machine, at the lease's end on another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crashing import ENDED, Crowd, Nursery, World, eventually, world

LEASE_SECONDS = 4.0
ONE_MACHINE_SECONDS = 2.0
TIMES = 10
PARAMETERS = pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgresql"])


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    with closing(Nursery()) as found:
        yield found


def taken_up(here: World, crowd: Crowd, then: str, lease: float) -> float:
    """Have a worker killed in a call that keeps its key, and return how long after the next one's start it goes on."""
    here.arm("call.after", of="ledger")
    process = here.start(TAUSESTACK_MACHINE="one", TAUSESTACK_LEASE_SECONDS=str(lease))
    crowd.ask(process, 1)
    process.die(60)
    assert not here.failpoint.exists()
    run = list(here.accepted.values())[-1]
    before = len(minted(here, run))
    following = here.start(TAUSESTACK_MACHINE=then, TAUSESTACK_LEASE_SECONDS=str(lease))
    started = time.monotonic()
    eventually(lambda: len(minted(here, run)) > before)
    seconds = time.monotonic() - started
    assert eventually(lambda: following.call("get_run", {"run": run})["status"] in ENDED)
    following.die(0)
    return seconds


def minted(here: World, run: str) -> list[str]:
    """Return the delegations that were minted for a run: one each time that it is taken up."""
    return [of for address, of, *_ in here.door.rows("arrivals") if (address, of) == ("platform/delegate", run)]


@PARAMETERS
@pytest.mark.covers("durability:taken-up")
@pytest.mark.timeout(200)
def test_a_process_of_the_same_machine_takes_up_at_once_and_one_of_another_within_twice_the_lease(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if postgres else None
    with world(nursery, tmp_path, url) as here:
        crowd = Crowd(here, 0)
        assert taken_up(here, crowd, "one", 120) < 60
        elsewhere = taken_up(here, crowd, "two", LEASE_SECONDS)
        print(f"\ntaken up by another machine {elsewhere:.2f} s after the kill, with a lease of {LEASE_SECONDS} s")
        assert LEASE_SECONDS / 2 < elsewhere < 2 * LEASE_SECONDS


@pytest.mark.soak
@PARAMETERS
@pytest.mark.covers("durability:taken-up-soon")
def test_a_process_of_the_same_machine_takes_up_within_two_seconds(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if postgres else None
    with world(nursery, tmp_path, url) as here:
        crowd = Crowd(here, 0)
        found = sorted(taken_up(here, crowd, "one", 120) for _ in range(TIMES))
        print(f"\ntaken up {found[TIMES // 2]:.2f} s after a start in the middle, {found[-1]:.2f} s at most")
        assert found[-1] < ONE_MACHINE_SECONDS
