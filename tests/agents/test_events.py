"""The event log of a run: what it tells, how it is followed, and that following goes on wherever it broke off."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import httpx2
import pytest

from run_events import Told, following_run, log_of, parsed
from tausestack.database import TenantDatabases
from tausestack_agents import following
from tausestack_agents.bell import Bell
from tausestack_agents.events import KINDS
from tausestack_agents.tables import SCHEMA

pytestmark = pytest.mark.anyio

INVOICE = "Crea una factura para Café Andino por 250.000 COP de asesoría"


@pytest.mark.covers("agents:events")
async def test_an_approval_is_told_when_it_is_asked_for_and_when_it_is_given(agents: Any) -> None:
    held = await agents.acme.run(INVOICE)
    edited = {**held["interrupt"]["arguments"], "customer_id": "Otra S.A.S."}
    await agents.acme.call("resume", {"run": held["id"], "decision": {"arguments": edited}, "wait": 60})
    told = await log_of(agents.acme, held["id"])
    assert {kind for _, kind, _ in told} <= KINDS
    approvals = [data for _, kind, data in told if kind == "approval"]
    assert [(one["status"], one["approval"], one["tool"]) for one in approvals] == [
        ("pending", "apr_0", "create_invoice"),
        ("approved", "apr_0", "create_invoice"),
    ]
    assert approvals[0]["arguments"]["customer_id"] == "Café Andino"
    assert approvals[1]["arguments"] == edited
    assert [kind for _, kind, _ in told].count("tool_call") == 1
    statuses = [data["status"] for _, kind, data in told if kind == "run"]
    assert statuses == ["pending", "running", "interrupted", "running", "success"]


@pytest.mark.covers("agents:events")
async def test_a_rejection_is_told_with_its_reason_and_a_failed_run_with_its_error(agents: Any) -> None:
    held = await agents.acme.run(INVOICE)
    decision = {"approve": False, "reason": "muy caro"}
    await agents.acme.call("resume", {"run": held["id"], "decision": decision, "wait": 60})
    told = await log_of(agents.acme, held["id"])
    (_, refused) = [data for _, kind, data in told if kind == "approval"]
    assert refused["status"] == "rejected"
    assert "muy caro" in refused["reason"]
    assert [data["status"] for _, kind, data in told if kind == "tool_result"] == ["rejected"]
    agents.gateway.revoked = True
    failed = await agents.acme.run("¿Qué hora es en Tokio?")
    told = await log_of(agents.acme, failed["id"])
    assert [kind for _, kind, _ in told][-3:] == ["cost", "error", "run"]
    assert told[-2][2]["code"] == "unauthenticated"
    assert told[-1][2]["status"] == "error"


@pytest.mark.covers("agents:events")
async def test_a_call_that_waited_when_its_run_was_cancelled_was_withdrawn_and_not_rejected(agents: Any) -> None:
    held = await agents.acme.run(INVOICE)
    cancelled = await agents.acme.call("cancel", {"run": held["id"]})
    assert [(step["status"], step["error"]["code"]) for step in cancelled["steps"]] == [("cancelled", "withdrawn")]
    told = await log_of(agents.acme, held["id"])
    assert [data["status"] for _, kind, data in told if kind == "approval"] == ["pending", "withdrawn"]
    assert [data["status"] for _, kind, data in told if kind == "tool_result"] == ["cancelled"]


def _long(_: dict[str, Any]) -> dict[str, Any]:
    return {"text": "x" * 100_000}


@pytest.mark.covers("agents:events")
async def test_a_long_result_is_not_repeated_in_the_log(agents: Any) -> None:
    agents.gateway.answers["mcp-server-time/get_current_time"] = _long
    run = await agents.acme.run("¿Qué hora es en Tokio?")
    (result,) = [data for _, kind, data in await log_of(agents.acme, run["id"]) if kind == "tool_result"]
    assert result["truncated"] is True
    assert len(run["steps"][0]["result"]["text"]) == 100_000


@pytest.mark.covers("agents:events-after-a-kill")
@pytest.mark.timeout(300)
async def test_following_goes_on_after_its_process_was_killed_with_no_event_lost_or_told_twice(
    process: Any, gateway: Any
) -> None:
    agents = await process.start()
    gate = gateway.hold("mcp-server-time/get_current_time")
    started = await agents.acme.run("Lee la clave ajustes/tema y dime qué hora es en Tokio", wait=0)
    seen: list[Told] = []

    async def follow_until_it_is_killed() -> None:
        async with following_run(agents.acme, started["id"]) as blocks:
            async for block in blocks:
                seen.append(parsed(block))
                if seen[-1][1] == "tool_call" and seen[-1][2]["tool"] == "get_current_time":
                    process.kill()

    with pytest.raises(httpx2.TransportError):
        await follow_until_it_is_killed()
    gate.set()
    agents = await process.start()
    async with following_run(agents.acme, started["id"], after=seen[-1][0]) as blocks:
        seen += [parsed(block) async for block in blocks]
    assert [number for number, _, _ in seen] == list(range(1, len(seen) + 1))
    assert seen == await log_of(agents.acme, started["id"])
    assert seen[-1][2]["status"] == "success"
    assert [kind for _, kind, _ in seen].count("tool_call") == 2
    assert [kind for _, kind, _ in seen].count("tool_result") == 2


@pytest.mark.covers("agents:events-heartbeat")
async def test_a_quiet_stream_is_kept_open_by_comments(agents: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.1)
    gate = agents.gateway.hold("mcp-server-time/get_current_time")
    started = await agents.acme.run("¿Qué hora es en Tokio?", wait=0)
    comments, last = 0, b""
    databases = TenantDatabases(SCHEMA, data=agents.data)
    async with aclosing(following.follow(databases, Bell(), "acme", started["id"], 0)) as stream:
        async for piece in stream:
            comments, last = comments + piece.startswith(b":"), piece
            if comments == 2:
                gate.set()
    await databases.aclose()
    assert comments >= 2
    assert b'"status": "success"' in last
