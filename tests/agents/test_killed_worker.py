"""kill -9 at the journal's boundaries: nothing completed is done again, nothing accepted is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.anyio


async def _ended(process: Any, until: Callable[..., Any], run: str) -> dict[str, Any]:
    return await _ended_in(await process.start(), until, run)


async def _ended_in(agents: Any, until: Callable[..., Any], run: str) -> dict[str, Any]:
    async def ended() -> Any:
        found = await agents.acme.call("get_run", {"run": run})
        return found["status"] not in {"pending", "running"} and found

    return await until(ended)


@pytest.mark.covers("agents:survives-kill")
@pytest.mark.timeout(300)
async def test_after_a_kill_in_a_call_the_run_goes_on_and_completed_calls_are_not_made_again(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    agents = await process.start()
    gate = gateway.hold("mcp-server-time/get_current_time")
    started = await agents.acme.run("Lee la clave ajustes/tema y dime qué hora es en Tokio", wait=0)
    await gateway.reached("mcp-server-time/get_current_time")

    async def first_done() -> bool:  # both go on side by side
        steps = (await agents.acme.call("get_run", {"run": started["id"]}))["steps"]
        return any(step["tool"] == "get_json" and step["status"] == "done" for step in steps)

    await until(first_done)
    process.kill()  # the first call is journaled as done, the second as intended
    gate.set()
    ended = await _ended(process, until, started["id"])
    assert ended["status"] == "success"
    assert [step["status"] for step in ended["steps"]] == ["done", "done"]
    assert len(gateway.sent("storage/get_json")) == 1
    assert len(gateway.sent("mcp-server-time/get_current_time")) == 2
    assert len({call.key for call in gateway.sent("mcp-server-time/get_current_time")}) == 1


@pytest.mark.covers("agents:survives-kill")
@pytest.mark.timeout(300)
async def test_a_keyed_write_that_was_cut_off_by_a_kill_is_sent_again_under_its_key_and_happens_once(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    agents = await process.start()
    gate = gateway.hold("storage/put_json")
    started = await agents.acme.run('Guarda {"modo": "oscuro"} en la clave ajustes/tema', wait=0)
    await gateway.reached("storage/put_json")
    process.kill()
    gate.set()
    ended = await _ended(process, until, started["id"])
    assert ended["status"] == "success"
    assert len({call.key for call in gateway.sent("storage/put_json")}) == 1
    assert gateway.effects["storage/put_json"] == 1


@pytest.mark.covers("agents:plan-is-kept")
@pytest.mark.timeout(300)
async def test_a_run_that_was_killed_goes_on_by_its_plan_whatever_tools_came_since(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    agents = await process.start()
    gate = gateway.hold("storage/put_json")
    asked = 'Guarda {"modo": "oscuro"} en la clave ajustes/tema y después dime qué hora es en Tokio'
    started = await agents.acme.run(asked, wait=0)
    await gateway.reached("storage/put_json")
    process.kill()  # the first call was intended, the second part only planned
    gate.set()
    clock = next(tool for tool in gateway.tools if tool["address"] == "mcp-server-time/get_current_time")
    gateway.tools = [{**clock, "address": "a-clock/get_current_time"}, *gateway.tools]
    agents = await process.start()
    ended = await _ended_in(agents, until, started["id"])
    assert [step["server"] for step in ended["steps"]] == ["storage", "mcp-server-time"]
    fresh = await agents.acme.run(asked)
    assert [step["server"] for step in fresh["steps"]] == ["storage", "a-clock"]


@pytest.mark.covers("agents:survives-kill", "agents:unkeyed-doubt-waits")
@pytest.mark.timeout(300)
async def test_an_unkeyed_call_that_was_cut_off_by_a_kill_is_not_repeated_but_waits_for_a_decision(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    tool = next(tool for tool in gateway.tools if tool["address"] == "storage/put_json")
    tool["_meta"]["pro.tause/tool"] = {"side_effect": "write"}
    agents = await process.start()
    gate = gateway.hold("storage/put_json")
    started = await agents.acme.run('Guarda {"modo": "oscuro"} en la clave ajustes/tema', wait=0)
    await gateway.reached("storage/put_json")
    process.kill()
    gate.set()
    held = await _ended(process, until, started["id"])
    assert held["status"] == "interrupted"
    assert held["interrupt"]["kind"] == "decision"
    assert len(gateway.sent("storage/put_json")) == 1


@pytest.mark.covers("agents:survives-kill", "agents:run-waits-for-approval")
@pytest.mark.timeout(300)
async def test_a_held_run_outlives_its_process_and_is_decided_in_the_next(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    agents = await process.start()
    held = await agents.acme.run("Dime la hora en Lima y crea una factura para Ana por 10 USD de té")
    assert held["status"] == "interrupted"
    process.kill()
    agents = await process.start()
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert ended["status"] == "success"
    assert gateway.effects["billing/create_invoice"] == 1
    assert len(gateway.sent("mcp-server-time/get_current_time")) == 1


@pytest.mark.covers("agents:accepted-is-kept")
@pytest.mark.timeout(300)
async def test_no_accepted_run_is_lost_when_the_process_is_killed_at_once(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    agents = await process.start()
    accepted: list[str] = []
    for number in range(4):
        run = await agents.acme.run(f"Lee la clave ajustes/tema{number}", wait=0)
        accepted.append(run["id"])
    process.kill()
    with pytest.raises(httpx2.TransportError):
        await agents.acme.call("list_agents")
    agents = await process.start()

    async def all_ended() -> Any:
        runs = (await agents.acme.call("list_runs"))["runs"]
        return {run["id"] for run in runs if run["status"] == "success"} >= set(accepted) and runs

    runs = await until(all_ended)
    assert [[step["status"] for step in run["steps"]] for run in runs] == [["done"]] * 4


@pytest.mark.covers("agents:stops-cleanly")
@pytest.mark.timeout(300)
async def test_told_to_stop_it_lets_go_of_its_runs_for_the_next_process(
    process: Any, gateway: Any, until: Callable[..., Any]
) -> None:
    agents = await process.start()
    gate = gateway.hold("mcp-server-time/get_current_time")
    started = await agents.acme.run("¿Qué hora es en Tokio?", wait=0)
    await gateway.reached("mcp-server-time/get_current_time")
    assert process.stop() == 0
    gate.set()
    assert (await _ended(process, until, started["id"]))["status"] == "success"
