"""What tenants use just now, counted in memory that several processes share."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tausestack_runtime.board import Board
from tausestack_runtime.counted import CALLED, CALLS, CONNECTIONS, LISTED
from tausestack_runtime.gateway.limits.windows import moving_windows, per_minute
from tausestack_runtime.tally import MARGIN

GATEWAYS = 3
LIMIT = 200
PASSING = 40_000
"""More tenants than there are slots."""
CROWDED = GATEWAYS * MARGIN + 20
"""A limit that gateways are near to and far from by turns."""


def at_once(count: Callable[[int, int, Any], None], descriptor: int) -> list[Any]:
    """Return what each gateway's process says that counts beside the others."""
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[Any] = context.Queue()
    numbers = range(1, GATEWAYS + 1)
    processes = [context.Process(target=count, args=(descriptor, number, said), daemon=True) for number in numbers]
    for process in processes:
        process.start()
    found = [said.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    return found


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.covers("limits:minute")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.integers(1, 4)), max_size=80), st.integers(1, 12))
def test_no_sixty_seconds_ever_have_more_calls_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    clock, made = Clock(), list[float]()
    windows = moving_windows(Board(1).tally, 1, clock)
    for pause, wanted in steps:
        clock.now += pause
        for _ in range(wanted):
            within = [one for one in made if one > clock.now - 60]
            counted = [one for one in made if int(one) > int(clock.now) - 61]
            admitted = windows.hit(per_minute(limit), "acme")
            assert not (admitted and len(within) >= limit)
            assert admitted == (len(counted) < limit)
            if admitted:
                made.append(clock.now)
    reset, left = windows.get_window_stats(per_minute(limit), "acme")
    counted = [one for one in made if int(one) > int(clock.now) - 61]
    assert left == limit - len(counted)
    if counted:
        assert reset == int(min(counted)) + 61


@pytest.mark.covers("limits:gateways")
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(1, 40), st.sampled_from([1, 2])), max_size=40), st.integers(1, 60)
)
def test_what_one_gateway_counted_another_counts_too_and_no_longer(
    steps: list[tuple[float, int, int]], limit: int
) -> None:
    descriptor = Board.make(2)
    boards = {number: Board(2, descriptor) for number in (1, 2)}
    now, made = 1000.0, list[float]()
    for pause, wanted, number in steps:
        now += pause
        tally, second = boards[number].tally, int(now)
        for _ in range(wanted):
            counted = [one for one in made if int(one) > second - 61]
            assert tally.window(CALLED, "acme", second) == (int(min(counted, default=now)), len(counted))
            full = tally.admit(number, "acme", 2 * MARGIN + 1, limit, second)
            assert full == ("minute" if len(counted) >= limit else None)
            if full is None:
                made.append(now)
                tally.give_back(number, CALLS, "acme")
    os.close(descriptor)


@pytest.mark.covers("limits:minute")
def test_after_the_time_that_a_refusal_tells_there_is_room() -> None:
    clock = Clock()
    windows = moving_windows(Board(1).tally, 1, clock)
    for _ in range(5):
        assert windows.hit(per_minute(5), "acme")
        clock.now += 0.7
    assert not windows.hit(per_minute(5), "acme")
    clock.now, _ = windows.get_window_stats(per_minute(5), "acme")
    assert windows.hit(per_minute(5), "acme")


@pytest.mark.covers("limits:minute")
@pytest.mark.parametrize("count", [1, 255, 256, 65_536, 2**31])
@pytest.mark.parametrize("begun", range(1000, 1061, 7))
def test_the_oldest_second_tells_when_there_is_room_however_many_it_has(count: int, begun: int) -> None:
    clock = Clock()
    windows = moving_windows(Board(1).tally, 1, clock)
    clock.now = begun
    for pause in (0, 13, 47):
        clock.now += pause
        assert windows.hit(per_minute(2**32), "acme", cost=count if not pause else 1)
    assert windows.get_window_stats(per_minute(2**32), "acme") == (begun + 61, 2**32 - count - 2)
    clock.now += 1
    assert windows.get_window_stats(per_minute(2**32), "acme") == (begun + 13 + 61, 2**32 - 2)


@pytest.mark.covers("limits:minute")
def test_a_changed_limit_goes_on_with_what_was_counted() -> None:
    windows = moving_windows(Board(1).tally, 1, Clock())
    assert all(windows.hit(per_minute(100), "acme") for _ in range(10))
    assert not windows.hit(per_minute(10), "acme")
    assert windows.hit(per_minute(11), "acme")
    windows.clear(per_minute(1), "acme")
    assert windows.hit(per_minute(1), "acme")


@pytest.mark.covers("limits:lists")
def test_calls_and_lists_have_a_minute_each_and_keep_their_slot_as_long_as_either_counts() -> None:
    board, clock = Board(1), Clock()
    calls, lists = (moving_windows(board.tally, 1, clock, what) for what in (CALLED, LISTED))
    assert calls.hit(per_minute(1), "acme")
    assert not calls.hit(per_minute(1), "acme")
    clock.now += 30
    assert lists.hit(per_minute(1), "acme")
    assert not lists.hit(per_minute(1), "acme")
    clock.now += 31
    assert calls.get_window_stats(per_minute(1), "acme").remaining == 1
    for number in range(20_000):  # a slot that were free could be any of theirs
        assert calls.hit(per_minute(1), f"passing-{number}")
    assert not lists.hit(per_minute(1), "acme")
    assert board.tally.admit(1, "acme", 1, 1, int(clock.now)) is None
    clock.now += 30
    assert lists.hit(per_minute(1), "acme")
    lists.clear(per_minute(1), "acme")
    assert lists.get_window_stats(per_minute(1), "acme").remaining == 1
    assert calls.get_window_stats(per_minute(1), "acme").remaining == 0


@pytest.mark.covers("limits:isolation")
def test_no_tenants_count_is_ever_anothers_though_there_are_more_tenants_than_slots() -> None:
    board, clock = Board(1), Clock()
    windows = moving_windows(board.tally, 1, clock)
    busy = [f"busy-{number}" for number in range(500)]
    for number, tenant in enumerate(busy):
        assert board.tally.take(1, CALLS, tenant, 9, int(clock.now))
        for _ in range(number % 3):
            windows.hit(per_minute(9), tenant)
    for number in range(20_000):
        clock.now += 0.01
        tenant = f"passing-{number}"
        assert windows.get_window_stats(per_minute(9), tenant).remaining == 9
        assert board.tally.held(CALLS, tenant, int(clock.now)) == 0
        assert windows.hit(per_minute(9), tenant)
    for tenant in busy:
        assert board.tally.held(CALLS, tenant, int(clock.now)) == 1
        assert board.tally.held(CONNECTIONS, tenant, int(clock.now)) == 0
        board.tally.give_back(1, CALLS, tenant)
        assert board.tally.held(CALLS, tenant, int(clock.now)) == 0


def _take_all(descriptor: int, number: int, admitted: multiprocessing.Queue[tuple[int, ...]]) -> None:
    board = Board(GATEWAYS, descriptor)
    windows = moving_windows(board.tally, number, lambda: 5000.0)
    hits = sum(windows.hit(per_minute(LIMIT), "acme") for _ in range(LIMIT))
    held = sum(board.tally.take(number, CALLS, "acme", LIMIT, 5000) for _ in range(LIMIT))
    placed = sum(board.tally.admit(number, "initech", LIMIT, 2 * LIMIT, 5000) is None for _ in range(LIMIT))
    counted = sum(board.tally.admit(number, "umbrella", 2 * LIMIT, LIMIT, 5000) is None for _ in range(LIMIT))
    admitted.put((hits, held, placed, counted))


def _come_and_go(descriptor: int, number: int, held: multiprocessing.Queue[tuple[list[tuple[int, int]], int]]) -> None:
    tally, chance = Board(GATEWAYS, descriptor).tally, random.Random(number)
    mine, changes = 0, list[tuple[int, int]]()
    for _ in range(100_000):
        if mine and chance.random() < 0.4:
            changes.append((time.monotonic_ns(), -1))
            tally.give_back(number, CONNECTIONS, "acme")
            mine -= 1
        elif tally.take(number, CONNECTIONS, "acme", CROWDED, 5000):
            changes.append((time.monotonic_ns(), 1))
            mine += 1
    while tally.take(number, CONNECTIONS, "acme", CROWDED, 5000):
        changes.append((time.monotonic_ns(), 1))
        mine += 1
    held.put((changes, mine))


@pytest.mark.covers("limits:gateways")
def test_processes_that_take_and_give_back_never_have_more_than_the_limit_and_miss_no_place() -> None:
    descriptor = Board.make(GATEWAYS)
    found = at_once(_come_and_go, descriptor)
    # What each has is told from after it was taken to before it was given back; the clock is the machine's. The tally
    # is no witness: who reads it reads one gateway's count after the other's, while places go from this one to that.
    changes = sorted(change for told, _ in found for change in told)
    assert max(accumulate(change for _, change in changes)) <= CROWDED
    assert sum(mine for _, mine in found) == CROWDED
    os.close(descriptor)


def _meet(descriptor: int, number: int, counts: multiprocessing.Queue[int]) -> None:
    tally = Board(GATEWAYS, descriptor).tally
    for tenant in range(PASSING):
        # All come to each tenant at about the same time, for the first time, in a slot that may have been another's.
        assert tally.take(number, CALLS, f"passing-{tenant}", 500, 5000 + tenant)
        tally.give_back(number, CALLS, f"passing-{tenant}")
    kept = sum(tally.take(number, CALLS, f"kept-{tenant}", 500, 20_000) for tenant in range(2000))
    counts.put(kept)


@pytest.mark.covers("limits:isolation")
def test_gateways_that_meet_in_a_slot_count_one_tenant_there() -> None:
    descriptor = Board.make(GATEWAYS)
    assert at_once(_meet, descriptor) == [2000] * GATEWAYS
    tally = Board(GATEWAYS, descriptor).tally
    assert {tally.held(CALLS, f"kept-{tenant}", 20_000) for tenant in range(2000)} == {GATEWAYS}
    assert {tally.held(CALLS, f"passing-{tenant}", 20_000) for tenant in range(PASSING)} == {0}
    os.close(descriptor)


@pytest.mark.covers("limits:gateways")
def test_several_processes_together_admit_exactly_the_limit_and_a_dead_ones_share_comes_back() -> None:
    descriptor = Board.make(GATEWAYS)
    board = Board(GATEWAYS, descriptor)
    found = at_once(_take_all, descriptor)
    assert [sum(one) for one in zip(*found, strict=True)] == [LIMIT] * 4
    assert board.tally.admit(1, "initech", LIMIT, 2 * LIMIT, 5000) == "calls"
    assert board.tally.admit(1, "umbrella", 2 * LIMIT, LIMIT, 5000) == "minute"
    assert board.tally.held(CALLS, "umbrella", 5000) == LIMIT  # who is over the minute has no place
    assert not board.tally.take(1, CALLS, "acme", LIMIT, 5000)
    assert board.tally.take(1, CALLS, "globex", LIMIT, 5000)
    for number in (2, 3):
        board.bury(number)
    left = board.tally.held(CALLS, "acme", 5000)
    assert left <= LIMIT
    assert board.tally.held(CALLS, "globex", 5000) == 1
    assert moving_windows(board.tally, 1, lambda: 5000.0).get_window_stats(per_minute(LIMIT), "acme").remaining == 0
    board.bury(1)
    assert board.tally.held(CALLS, "acme", 5000) == 0
    os.close(descriptor)
