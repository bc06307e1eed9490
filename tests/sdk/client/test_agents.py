"""Running agents through the client."""

from __future__ import annotations

import pytest

from tausestack import errors
from tausestack.client import Client

pytestmark = pytest.mark.anyio


@pytest.mark.covers("client:runs")
async def test_a_run_is_returned_typed_once_it_settled(acme: Client) -> None:
    run = await acme.agents.run("concierge", "hello", wait=5)
    assert run.status == "success"
    assert run.ended
    assert run.output == "Hecho."
    assert run.steps[0].address == "demo/spend"


@pytest.mark.covers("client:runs")
async def test_a_run_without_wait_comes_back_at_once_and_can_be_waited_for(acme: Client) -> None:
    run = await acme.agents.run("concierge", "hello", thread="t-1")
    assert run.status == "pending"
    assert run.thread == "t-1"
    assert (await acme.agents.wait(run.id, timeout=60)).status == "success"


@pytest.mark.covers("client:runs")
async def test_an_interrupted_run_says_what_it_waits_for_and_goes_on(acme: Client) -> None:
    run = await acme.agents.run("concierge", "pay", wait=5)
    assert run.interrupt is not None
    assert run.interrupt.approval == "apr_1"
    assert (await acme.agents.resume(run.id, {"approve": True})).status == "success"
    with pytest.raises(errors.Conflict):
        await acme.agents.resume(run.id, {"approve": True})


@pytest.mark.covers("client:stream-resumes")
async def test_a_stream_that_breaks_goes_on_after_its_last_event(acme: Client) -> None:
    numbers = [event.content["number"] async for event in acme.agents.stream("concierge", "hello")]
    assert numbers == [1, 2, 3, 4]


async def test_runs_are_listed_and_cancelled(acme: Client) -> None:
    run = await acme.agents.run("concierge", "hello")
    assert run.id in [one.id for one in await acme.agents.list()]
    assert (await acme.agents.cancel(run.id)).status == "cancelled"
    assert (await acme.agents.specs())[0]["name"] == "concierge"
