"""Two gateways that decide at once: before each line of what the one does, the other does all that it has to do."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tausestack.tenancy import cache_key
from tausestack_runtime import counted, tally
from tausestack_runtime.board import Board
from tausestack_runtime.counted import CALLS, SLOTS
from tausestack_runtime.tally import MARGIN, Tally

FILES = {tally.__file__, counted.__file__}
LIMIT, SECOND = 2 * MARGIN + 5, 5000
Act = Callable[[Tally], Any]


def fill(own: Tally) -> int:
    """Take, as the second gateway, as many calls as there are to have."""
    return sum(iter(lambda: own.admit(2, "acme", LIMIT, LIMIT, SECOND) is None, False))


def _serve(descriptor: int, asked: Connection, acts: list[Act]) -> None:
    own = Board(2, descriptor).tally
    while (number := asked.recv()) is not None:
        asked.send(acts[number](own))


class Other:
    """The other gateway's process, and what it does when it is told to."""

    def __init__(self, process: multiprocessing.process.BaseProcess, ask: Connection) -> None:
        self._process, self._ask = process, ask

    def begin(self, number: int) -> None:
        """Have it do something, until that is done or it waits for its turn."""
        self._ask.send(number)
        while not self._ask.poll() and not self._waits():
            pass

    def end(self) -> Any:
        """Return what it did."""
        assert self._ask.poll(60)
        return self._ask.recv()

    def _waits(self) -> bool:
        locks = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())
        return any(words[1] == "->" and words[5] == str(self._process.pid) for words in locks)


@contextmanager
def two(*acts: Act) -> Iterator[tuple[Tally, Other]]:
    """Have a gateway here, and another in a process of its own, that share a board."""
    descriptor = Board.make(2)
    ask, asked = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(descriptor, asked, list(acts)))
    process.start()
    try:
        yield Board(2, descriptor).tally, Other(process, ask)
    finally:
        ask.send(None)
        process.join(60)
        os.close(descriptor)


def interrupted(act: Callable[[], Any], line: int, meanwhile: Callable[[], None]) -> tuple[Any, bool]:
    """Do something, and something else before one of its lines; return what came of it, and if it has such a line."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line" and left:
            left -= 1
            if not left:
                meanwhile()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return act(), not left
    finally:
        sys.settrace(before)


def lines() -> Iterator[int]:
    """Count from one, far beyond what any decision has."""
    yield from range(1, 1000)


@pytest.mark.covers("limits:gateways")
@pytest.mark.parametrize("before", [0, 1, LIMIT - 2])
def test_a_limit_is_met_exactly_whenever_the_other_gateway_takes_all_that_is_left(before: int) -> None:
    for line in lines():
        with two(fill) as (own, other):
            for _ in range(before):
                assert own.admit(1, "acme", LIMIT, LIMIT, SECOND) is None
            last, had = interrupted(
                lambda own=own: own.admit(1, "acme", LIMIT, LIMIT, SECOND), line, lambda other=other: other.begin(0)
            )
            if not had:
                return
            theirs = other.end()
            mine = before + (last is None)
            assert mine + theirs == LIMIT
            assert own.held(CALLS, "acme", SECOND) == LIMIT
            for _ in range(mine):
                own.give_back(1, CALLS, "acme")
            assert own.admit(1, "acme", LIMIT, LIMIT, SECOND) == ("minute" if mine else "calls")


def _neighbour(tenant: str) -> str:
    """Return a tenant whose own slot is another's."""

    def home(name: str) -> int:
        return int(cache_key(name, "", "", "limits")[:16], 16) % SLOTS

    return next(name for number in range(10**6) if home(name := f"other-{number}") == home(tenant))


@pytest.mark.covers("limits:isolation")
@pytest.mark.parametrize("settled", ["acme", "its neighbour", "nobody"])
def test_of_two_tenants_that_meet_in_a_slot_each_counts_its_own(settled: str) -> None:
    neighbour = _neighbour("acme")

    def visit(theirs: Tally) -> None:
        assert theirs.take(2, CALLS, neighbour, 500, SECOND)
        theirs.give_back(2, CALLS, neighbour)

    def stay(theirs: Tally) -> bool:
        return theirs.take(2, CALLS, neighbour, 500, SECOND)

    for line in lines():
        with two(visit, stay) as (own, other):
            if settled == "acme":
                assert own.take(1, CALLS, "acme", 500, SECOND)
                own.give_back(1, CALLS, "acme")
            elif settled != "nobody":
                other.begin(0)
                other.end()
            took, had = interrupted(
                lambda own=own: own.take(1, CALLS, "acme", 500, SECOND), line, lambda other=other: other.begin(1)
            )
            if not had:
                return
            assert took
            assert other.end()
            assert own.held(CALLS, "acme", SECOND) == own.held(CALLS, neighbour, SECOND) == 1
            own.give_back(1, CALLS, "acme")
            assert (own.held(CALLS, "acme", SECOND), own.held(CALLS, neighbour, SECOND)) == (0, 1)
