"""Runs: started, followed, held for a person, decided on, cancelled."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from tausestack.errors import Conflict, Forbidden, InvalidArguments, KeyReused, NotFound, Unavailable

pytestmark = pytest.mark.anyio

REQUEST = (
    "Valida el NIT 900.123.456-8, dime qué hora es en Bogotá y "
    "crea una factura para Café Andino por 250.000 COP de asesoría"
)


@pytest.mark.covers("agents:run-waits-for-approval")
async def test_a_request_over_three_servers_waits_for_the_approval_and_ends_with_real_results(agents: Any) -> None:
    agents.gateway.answers["colombia/validate_nit"] = lambda given: {"nit": given["nit"], "valid": True}
    agents.gateway.answers["mcp-server-time/get_current_time"] = lambda given: {
        "timezone": given["timezone"],
        "datetime": "2026-11-23T17:00:00-05:00",
    }
    agents.gateway.answers["billing/create_invoice"] = lambda given: {"invoice_id": "inv_1", "number": 1, **given}

    held = await agents.acme.run(REQUEST)

    assert held["status"] == "interrupted"
    assert [(step["server"], step["tool"], step["status"]) for step in held["steps"]] == [
        ("colombia", "validate_nit", "done"),
        ("mcp-server-time", "get_current_time", "done"),
        ("billing", "create_invoice", "waiting"),
    ]
    assert held["interrupt"]["kind"] == "approval"
    assert held["interrupt"]["approval"] == "apr_0"
    assert held["interrupt"]["arguments"]["customer_id"] == "Café Andino"
    assert agents.gateway.effects["billing/create_invoice"] == 0

    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})

    assert ended["status"] == "success", ended
    assert ended["steps"][2]["status"] == "done"
    assert ended["steps"][2]["result"]["invoice_id"] == "inv_1"
    assert "sin conexión" in ended["output"]
    assert "2026-11-23T17:00:00-05:00" in ended["output"]
    assert "inv_1" in ended["output"]
    assert ended["cost"]["tool_calls"] == 3
    assert ended["cost"]["models"] == ["offline"]
    first, second = agents.gateway.sent("billing/create_invoice")
    assert first.key == second.key is not None
    assert second.approval == "apr_0"
    assert agents.gateway.effects["billing/create_invoice"] == 1
    assert agents.gateway.delegations[0]["bounds"] == ["tools:call", "tools:read"]
    assert agents.gateway.delegations[0]["principal"] == "key:acme"


@pytest.mark.covers("agents:run-waits-for-approval")
async def test_a_rejected_call_is_not_made_and_the_answer_says_so(agents: Any) -> None:
    held = await agents.acme.run("Crea una factura para Café Andino por 250.000 COP de asesoría")
    decision = {"approve": False, "reason": "muy caro"}
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": decision, "wait": 25})
    assert ended["status"] == "success"
    assert ended["steps"][0]["status"] == "rejected"
    assert "muy caro" in ended["output"]
    assert agents.gateway.effects["billing/create_invoice"] == 0


@pytest.mark.covers("agents:run-waits-for-approval")
async def test_a_person_may_edit_the_arguments_of_a_held_call(agents: Any) -> None:
    held = await agents.acme.run("Crea una factura para Café Andino por 250.000 COP de asesoría")
    edited = {**held["interrupt"]["arguments"], "customer_id": "Café Andino S.A.S."}
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"arguments": edited}, "wait": 25})
    assert ended["status"] == "success"
    assert ended["steps"][0]["arguments"]["customer_id"] == "Café Andino S.A.S."
    assert agents.gateway.sent("billing/create_invoice")[-1].arguments == edited


@pytest.mark.covers("agents:wake-by-the-gateway")
async def test_a_decision_taken_elsewhere_wakes_the_run(agents: Any, until: Callable[..., Any]) -> None:
    held = await agents.acme.run("Crea una factura para Café Andino por 250.000 COP de asesoría")
    agents.gateway.approvals["apr_0"]["status"] = "approved"
    given = {"run": held["id"], "approval": "apr_0", "decision": "approve", "arguments": held["interrupt"]["arguments"]}
    await agents.system("acme").call("wake", given)

    async def ended() -> Any:
        run = await agents.acme.call("get_run", {"run": held["id"]})
        return run["status"] == "success" and run

    assert (await until(ended))["steps"][0]["status"] == "done"
    await agents.system("acme").call("wake", given)
    assert agents.gateway.effects["billing/create_invoice"] == 1


@pytest.mark.covers("agents:decisions-are-checked")
async def test_a_decision_has_to_be_one_and_a_run_has_to_wait_for_it(agents: Any) -> None:
    ended = await agents.acme.run("¿Qué hora es en Tokio?")
    with pytest.raises(Conflict, match="waits for nothing"):
        await agents.acme.call("resume", {"run": ended["id"], "decision": {"approve": True}})
    with pytest.raises(InvalidArguments, match="approve"):
        await agents.acme.call("resume", {"run": ended["id"], "decision": {"yes": True}})


@pytest.mark.covers("agents:idempotent-start")
async def test_a_run_started_twice_under_one_key_is_one_run(agents: Any) -> None:
    given = {"agent": "concierge", "input": "¿Qué hora es en Tokio?", "wait": 25}
    one = await agents.acme.call("run", given, key="order-1")
    two = await agents.acme.call("run", given, key="order-1")
    assert one["id"] == two["id"]
    assert len(agents.gateway.sent("mcp-server-time/get_current_time")) == 1
    with pytest.raises(KeyReused):
        await agents.acme.call("run", {**given, "input": "otra cosa"}, key="order-1")


@pytest.mark.covers("agents:two-tenants")
async def test_another_tenants_run_looks_like_one_that_does_not_exist(agents: Any) -> None:
    run = await agents.acme.run("¿Qué hora es en Tokio?")
    refusals = []
    for tool, more in (("get_run", {}), ("cancel", {}), ("resume", {"decision": {"approve": True}})):
        for identifier in (run["id"], "run_00000000000000000000"):
            with pytest.raises(NotFound) as refused:
                await agents.globex.call(tool, {"run": identifier, **more})
            refusals.append(refused.value.message)
    assert len(set(refusals)) == 1
    assert (await agents.globex.call("list_runs"))["runs"] == []
    assert [one["id"] for one in (await agents.acme.call("list_runs"))["runs"]] == [run["id"]]


@pytest.mark.covers("agents:cancel")
async def test_a_cancelled_run_stops_and_does_nothing_more(agents: Any) -> None:
    gate = agents.gateway.hold("mcp-server-time/get_current_time")
    started = await agents.acme.run("¿Qué hora es en Tokio? Crea una factura para Ana por 10 USD de té", wait=0)
    await agents.gateway.reached("mcp-server-time/get_current_time")
    cancelled = await agents.acme.call("cancel", {"run": started["id"]})
    gate.set()
    assert cancelled["status"] == "cancelled"
    assert (await agents.acme.call("cancel", {"run": started["id"]}))["status"] == "cancelled"
    after = await agents.acme.run("¿Qué hora es en Madrid?")
    assert after["status"] == "success"
    assert agents.gateway.sent("billing/create_invoice") == []


@pytest.mark.covers("agents:revoked")
async def test_a_run_whose_starter_was_revoked_ends_with_that_error(agents: Any) -> None:
    agents.gateway.revoked = True
    run = await agents.acme.run("¿Qué hora es en Tokio?")
    assert run["status"] == "error"
    assert run["error"]["code"] == "unauthenticated"


@pytest.mark.covers("agents:failed-tool-is-told")
async def test_a_failed_tool_does_not_keep_the_other_parts_from_being_done(agents: Any) -> None:
    agents.gateway.answers["colombia/validate_nit"] = lambda _: Forbidden(
        "This credential lacks the scope x", scope="x"
    )
    run = await agents.acme.run("Valida el NIT 900.123.456-8 y dime qué hora es en Bogotá")
    assert run["status"] == "success"
    assert [step["status"] for step in run["steps"]] == ["failed", "done"]
    assert "lacks the scope x" in run["output"]


@pytest.mark.covers("agents:says-what-it-cannot")
async def test_what_no_tool_serves_is_said_and_not_made_up(agents: Any) -> None:
    run = await agents.acme.run("Reserva un vuelo a París")
    assert run["status"] == "success"
    assert run["steps"] == []
    assert "no encontré ninguna herramienta" in run["output"]


@pytest.mark.covers("agents:search-without-index")
async def test_an_agent_that_may_not_search_the_index_goes_by_the_words_of_its_tools(agents: Any) -> None:
    agents.gateway.may_search = False
    with capture_logs() as lines:
        run = await agents.caller("acme", "agent").run("What time is it in London?")
    assert run["steps"][0]["arguments"] == {"timezone": "Europe/London"}
    warned = [line for line in lines if line["log_level"] == "warning"]
    assert [(line["run"], line["code"]) for line in warned] == [(run["id"], "forbidden")]


@pytest.mark.covers("agents:events")
async def test_the_event_stream_tells_every_step_and_ends_with_the_run(agents: Any) -> None:
    run = await agents.acme.run("Valida el NIT 900.123.456-8 y dime qué hora es en Bogotá")
    headers = {"authorization": f"Bearer {agents.acme.assertion}"}
    reply = await agents.http.get(f"/http/runs/{run['id']}/events", headers=headers)
    events = _events(reply.text)
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    assert [data["status"] for _, kind, data in events if kind == "run"] == ["pending", "running", "success"]
    each = ["step", "tool_call", "tool_result", "step"]
    assert [kind for _, kind, _ in events][:2] == ["run", "run"]
    assert [kind for _, kind, _ in events][-2:] == ["cost", "run"]
    for task, tool in (("step-0", "validate_nit"), ("step-1", "get_current_time")):  # they go on side by side
        told = [(kind, data) for _, kind, data in events if task in (data.get("task"), data.get("call", "")[:6])]
        assert [kind for kind, _ in told] == each
        assert (told[1][1]["tool"], told[2][1]["status"]) == (tool, "done")
    assert {(data["run"], data["at"][:2]) for _, _, data in events} == {(run["id"], "20")}
    assert events[-2][2]["tool_calls"] == 2
    assert events[-1][2]["output"] == run["output"]
    rest = await agents.http.get(
        f"/http/runs/{run['id']}/events", headers={**headers, "last-event-id": str(len(events) - 1)}
    )
    assert _events(rest.text) == events[-1:]
    other = {"authorization": f"Bearer {agents.globex.assertion}"}
    assert (await agents.http.get(f"/http/runs/{run['id']}/events", headers=other)).status_code == 404


def _events(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.covers("agents:threads")
async def test_a_thread_has_one_run_at_a_time_and_goes_on_with_the_next(agents: Any) -> None:
    held = await agents.acme.run("Crea una factura para Ana por 10 USD de té", thread="t1")
    with pytest.raises(Conflict, match="has not ended"):
        await agents.acme.run("¿Qué hora es en Tokio?", thread="t1")
    await agents.acme.call("cancel", {"run": held["id"]})
    after = await agents.acme.run("¿Qué hora es en Tokio?", thread="t1")
    assert after["status"] == "success"
    assert [step["tool"] for step in after["steps"]] == ["get_current_time"]


@pytest.mark.covers("agents:bad-input")
async def test_bad_input_is_refused_before_a_run_begins(agents: Any) -> None:
    with pytest.raises(NotFound, match="concierge"):
        await agents.acme.call("run", {"agent": "nobody", "input": "hola"})
    with pytest.raises(InvalidArguments):
        await agents.acme.call("run", {"agent": "concierge", "input": "  "})
    with pytest.raises(InvalidArguments):
        await agents.acme.call("run", {"agent": "concierge"})
    assert (await agents.acme.call("list_runs"))["runs"] == []
    listed = await agents.acme.call("list_agents")
    assert [one["name"] for one in listed["agents"]] == ["billing", "concierge"]


@pytest.mark.covers("agents:unkeyed-doubt-waits")
async def test_an_unkeyed_call_that_broke_midway_waits_for_a_decision(agents: Any, in_doubt: Callable[[], Any]) -> None:
    tool = next(tool for tool in agents.gateway.tools if tool["address"] == "auth/create_api_key")
    policy = {"pro.tause/tool": {"side_effect": "write"}}
    agents.gateway.tools = [{**tool, "address": "keys/create_key", "name": "create_key", "_meta": policy}]
    agents.gateway.answers["keys/create_key"] = lambda _: in_doubt()
    held = await agents.acme.run("Create an API key for a viewer")
    assert held["status"] == "interrupted"
    assert held["interrupt"]["kind"] == "decision"
    assert len(agents.gateway.sent("keys/create_key")) == 1
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": False}, "wait": 25})
    assert ended["status"] == "success"
    assert len(agents.gateway.sent("keys/create_key")) == 1
    assert "Nobody knows" in ended["output"]


@pytest.mark.covers("agents:many-runs")
async def test_many_runs_at_once_all_end(agents: Any) -> None:
    runs: list[dict[str, Any]] = []

    async def one(number: int) -> None:
        caller = agents.acme if number % 2 else agents.globex
        runs.append(await caller.run(f"Lee la clave ajustes/tema{number}"))

    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(one, number)
    assert {run["status"] for run in runs} == {"success"}
    assert agents.gateway.effects["storage/get_json"] == 12


@pytest.mark.covers("agents:alone")
async def test_alone_it_lists_its_agents_and_starts_no_run() -> None:
    import tausestack.testing
    from tausestack_agents.server import server

    async with tausestack.testing.stack(server) as stack:
        assert (await stack.acme.call("list_agents"))["agents"][1]["name"] == "concierge"
        with pytest.raises(Unavailable, match="alone"):
            await stack.acme.call("run", {"agent": "concierge", "input": "hola"})


@pytest.mark.covers("agents:wake-by-the-gateway")
async def test_a_decision_that_comes_before_the_run_has_noted_that_it_waits_is_not_lost(agents: Any) -> None:
    gate = agents.gateway.hold("mcp-server-time/get_current_time")
    request = "Dime qué hora es en Lima y crea una factura para Ana por 10 USD de té"
    started = await agents.acme.run(request, wait=0)
    await agents.gateway.reached("mcp-server-time/get_current_time")
    early = {"run": started["id"], "approval": "apr_0", "decision": "approve"}
    await agents.system("acme").call("wake", early)
    agents.gateway.decided_early = True
    gate.set()
    follower = {"authorization": f"Bearer {agents.acme.assertion}"}
    text = (await agents.http.get(f"/http/runs/{started['id']}/events", headers=follower)).text
    assert _events(text)[-1][2]["status"] == "success"
    assert agents.gateway.effects["billing/create_invoice"] == 1


@pytest.mark.covers("agents:postgres")
async def test_runs_work_on_postgresql_and_stay_with_their_tenant(agents_on_postgres: Any) -> None:
    agents = agents_on_postgres
    held = await agents.acme.run("Dime qué hora es en Lima y crea una factura para Ana por 10 USD de té")
    assert held["status"] == "interrupted", held
    with pytest.raises(NotFound):
        await agents.globex.call("get_run", {"run": held["id"]})
    assert (await agents.globex.call("list_runs"))["runs"] == []
    ended = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 25})
    assert ended["status"] == "success", ended
    assert agents.gateway.effects["billing/create_invoice"] == 1


@pytest.mark.covers("agents:postgres")
async def test_a_nul_that_a_tool_returned_breaks_no_run_on_postgresql(agents_on_postgres: Any) -> None:
    agents = agents_on_postgres
    agents.gateway.answers["colombia/validate_nit"] = lambda _: {
        "nit": "9\0",
        "valid": True,
        "formatted": "nueve\0 cero",
    }
    run = await agents.acme.run("¿Es válido el NIT 900.123.456-8?")
    assert run["status"] == "success", run
    assert "nueve cero" in run["output"]
    assert run["steps"][0]["result"]["formatted"] == "nueve\0 cero"
