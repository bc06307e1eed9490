"""Breakers: when a third party's server is left alone, and when it is not."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress

import pytest

from tausestack.errors import DeadlineExceeded, TauseError, Unavailable
from tausestack_runtime.gateway.upstreams import breaker as breaker_module
from tausestack_runtime.gateway.upstreams.breaker import Breaker, Breakers, Speechless


def fails(through: AbstractContextManager[None], error: TauseError, times: int = 3) -> None:
    for _ in range(times):
        with suppress(type(error)), through:
            raise error


@pytest.mark.covers("remote:away")
@pytest.mark.parametrize("error", [DeadlineExceeded("too slow"), Unavailable("gone")])
def test_a_server_that_fails_calls_is_left_alone(error: TauseError) -> None:
    breaker = Breaker("far")
    fails(breaker, error)
    assert breaker.open
    with pytest.raises(Unavailable, match="far is away"), breaker:
        pytest.fail("the call was sent")


@pytest.mark.covers("remote:away")
def test_a_list_that_takes_long_makes_it_stale_and_keeps_no_call_from_it() -> None:
    breaker = Breaker("far")
    fails(breaker.brief(), DeadlineExceeded("its list took long"), 10)
    assert not breaker.open
    assert breaker.stale == "its list took long"
    with breaker:
        pass
    assert breaker.status() == {"state": "closed", "failures": 0}


@pytest.mark.covers("remote:away")
def test_a_list_that_can_not_be_had_at_all_counts_as_a_call_does() -> None:
    breaker = Breaker("far")
    fails(breaker.brief(), Unavailable("gone"))
    assert breaker.open
    # What is tried while it is left alone, and is slow, is no sign that it is back.
    breaker.retry_at = 0.0
    fails(breaker.brief(), DeadlineExceeded("still nothing"), 1)
    assert breaker.open
    assert breaker.in_flight == 0


@pytest.mark.covers("remote:away")
@pytest.mark.parametrize(("status", "left_alone"), [(502, True), (504, True), (500, False), (401, False), (307, False)])
def test_a_status_without_an_answer_is_told_and_opens_where_nobody_is_behind_it(status: int, left_alone: bool) -> None:
    breaker = Breaker("far")
    fails(breaker, Speechless(f"HTTP {status}", status))
    assert (breaker.open, breaker.stale) == (left_alone, f"HTTP {status}")
    assert breaker.in_flight == 0


@pytest.mark.covers("remote:away")
def test_of_many_servers_those_that_are_away_or_at_work_are_forgotten_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "MAX_KEPT", 3)
    breakers = Breakers()
    away, at_work = breakers.of("acme", "away"), breakers.of("acme", "at work")
    fails(away, Unavailable("gone"))
    with at_work:
        for number in range(10):
            breakers.of("acme", f"quiet {number}")
        assert breakers.of("acme", "away") is away
        assert breakers.of("acme", "at work") is at_work
