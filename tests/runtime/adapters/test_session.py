"""Sessions with third-party servers, friendly and hostile."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tausestack.errors import Unavailable
from tausestack_runtime.adapters.asked import Answered
from tausestack_runtime.adapters.session.peer import Broken

pytestmark = pytest.mark.anyio

Open = Callable[..., Any]


@pytest.mark.covers("adapters:raw")
async def test_nothing_that_a_server_says_is_dropped(session: Open) -> None:
    async with session() as one:
        result = await one.call("echo", ñ=[1, {"deep": None}])
        assert result["extra"] == [1]
        assert json.loads(result["content"][0]["text"]) == {"ñ": [1, {"deep": None}]}
        assert len(one.session.tools) == 12  # over three pages
        assert one.session.tools[0]["x-unknown"] == {"kept": 1}
        assert one.session.said.protocols == ["2024-11-05"]


@pytest.mark.covers("adapters:concurrent")
async def test_many_calls_share_a_session_and_none_gets_anothers_answer(session: Open) -> None:
    async with session() as one:
        answers = await asyncio.gather(*(one.call("echo", n=n) for n in range(50)))
    assert [json.loads(answer["content"][0]["text"])["n"] for answer in answers] == list(range(50))


@pytest.mark.covers("adapters:progress")
async def test_progress_comes_before_the_result_in_order(session: Open) -> None:
    async with session() as one:
        await one.request("tools/call", {"name": "count"}, progressToken="mine")
    assert [news["method"] for news in one.news] == ["notifications/progress"] * 3
    steps = [{"progressToken": "mine", "progress": step, "total": 3} for step in range(3)]
    assert [news["params"] for news in one.news] == steps


@pytest.mark.covers("adapters:cancel")
async def test_a_caller_that_goes_away_cancels_its_request_at_the_server(session: Open) -> None:
    async with session() as one:
        await one.session.ready()
        waiting = asyncio.create_task(one.call("wait"))
        await one.call("echo")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        result = await one.call("cancelled")
    assert len(json.loads(result["content"][0]["text"])) == 1


@pytest.mark.covers("adapters:death")
async def test_a_server_that_dies_breaks_every_call_in_flight_and_takes_no_more(session: Open) -> None:
    async with session() as one:
        await one.session.ready()
        waiting = asyncio.create_task(one.call("wait"))
        await one.call("echo")
        with pytest.raises(Broken):
            await one.call("die")
        with pytest.raises(Broken):
            await waiting
        assert not one.session.alive
        with pytest.raises(Unavailable):
            await one.call("echo")


@pytest.mark.covers("adapters:line-cap")
@pytest.mark.parametrize("tool", ["flood", "endless"])
async def test_a_line_without_bounds_ends_the_session(session: Open, tool: str) -> None:
    async with session() as one:
        with anyio.fail_after(60), pytest.raises(Broken, match="8 MiB"):
            await one.call(tool)


@pytest.mark.covers("adapters:garbage")
async def test_garbage_between_messages_is_passed_over(session: Open) -> None:
    async with session() as one:
        result = await one.call("garbage")
    assert "after the garbage" in result["content"][0]["text"]


@pytest.mark.covers("adapters:start-fails")
async def test_a_server_that_does_not_start_says_why(session: Open, log: Any) -> None:
    async with session("dead") as one:
        with pytest.raises(Unavailable, match=r"does not start: it ended: I will not run$"):
            await one.call("echo")
    assert "I will not run" in log.texts("stderr")


@pytest.mark.covers("adapters:stderr")
async def test_a_noisy_server_is_drained_and_its_noise_is_capped(session: Open, log: Any) -> None:
    async with session("noisy") as one:
        await one.call("echo")
    assert sum(map(len, log.texts("stderr"))) < 80_000


@pytest.mark.covers("adapters:error-as-it-came")
async def test_a_servers_own_error_comes_as_it_was(session: Open) -> None:
    async with session() as one:
        with pytest.raises(Answered) as caught:
            await one.call("refuse", data={"why": 1})
    assert caught.value.error == {"code": -32000, "message": "no", "data": {"why": 1}}


@pytest.mark.covers("adapters:idle")
async def test_an_idle_server_is_stopped_but_not_while_it_works(session: Open) -> None:
    async with session(idle=0.05) as one:
        await one.session.ready()
        pid = one.session.pid
        with anyio.fail_after(60):
            while one.session.alive:
                await anyio.lowlevel.checkpoint()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
