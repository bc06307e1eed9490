"""A replay goes through a run by its journal alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from tausestack.database import TenantDatabases
from tausestack.errors import Diverged, NotFound
from tausestack_agents.tables import SCHEMA, journal, runs

pytestmark = pytest.mark.anyio

TWO = "Lee la clave ajustes/tema y dime qué hora es en Tokio"


@pytest.mark.covers("agents:replay")
async def test_a_replay_shows_the_same_steps_and_answer_and_calls_nothing(agents: Any) -> None:
    run = await agents.acme.run(TWO)
    sent = len(agents.gateway.calls), len(agents.gateway.searched), len(agents.gateway.delegations)
    agents.gateway.tools = []
    agents.gateway.revoked = True
    replayed = await agents.acme.call("replay", {"run": run["id"]})
    assert replayed["complete"] is True
    assert replayed["output"] == run["output"]
    told = [(f"{step['server']}/{step['tool']}", step["arguments"], step["result"]) for step in run["steps"]]
    assert [(step["address"], step["arguments"], step["result"]) for step in replayed["steps"]] == told
    assert (len(agents.gateway.calls), len(agents.gateway.searched), len(agents.gateway.delegations)) == sent
    with pytest.raises(NotFound):
        await agents.globex.call("replay", {"run": run["id"]})


@pytest.mark.covers("agents:replay")
async def test_a_run_with_a_rejected_call_or_a_failed_tool_is_replayed_too(agents: Any) -> None:
    held = await agents.acme.run("Crea una factura para Ana por 10 USD de té")
    waiting = await agents.acme.call("replay", {"run": held["id"]})
    assert (waiting["status"], waiting["complete"]) == ("interrupted", False)
    decision = {"approve": False, "reason": "muy caro"}
    run = await agents.acme.call("resume", {"run": held["id"], "decision": decision, "wait": 60})
    replayed = await agents.acme.call("replay", {"run": run["id"]})
    assert (replayed["complete"], replayed["output"]) == (True, run["output"])
    assert [step["status"] for step in replayed["steps"]] == ["rejected"]


@pytest.mark.covers("agents:replay")
async def test_a_cancelled_run_is_replayed_as_far_as_it_came(agents: Any, until: Callable[..., Any]) -> None:
    gate = agents.gateway.hold("mcp-server-time/get_current_time")
    started = await agents.acme.run(TWO, wait=0)
    await agents.gateway.reached("mcp-server-time/get_current_time")

    async def first_done() -> bool:  # both go on side by side
        steps = (await agents.acme.call("get_run", {"run": started["id"]}))["steps"]
        return any(step["tool"] == "get_json" and step["status"] == "done" for step in steps)

    await until(first_done)
    await agents.acme.call("cancel", {"run": started["id"]})
    gate.set()
    replayed = await agents.acme.call("replay", {"run": started["id"]})
    assert (replayed["status"], replayed["complete"], replayed["output"]) == ("cancelled", False, None)
    assert [step["address"] for step in replayed["steps"]] == ["storage/get_json", "mcp-server-time/get_current_time"]


@pytest.mark.covers("agents:replay")
@pytest.mark.parametrize(
    ("change", "at"),
    [
        (sa.update(runs).values(output="otra respuesta"), "answer"),
        (sa.update(runs).values(input="¿Qué hora es en Tokio?"), "plan"),
        (sa.delete(journal).where(journal.c.tool == "get_current_time"), "step-1/"),
        (sa.delete(journal).where(journal.c.kind == "model", journal.c.task == "step-1"), "step-1/model-0"),
    ],
    ids=["answer", "parts", "call", "model"],
)
async def test_what_goes_another_way_fails_and_says_where(agents: Any, change: Any, at: str) -> None:
    run = await agents.acme.run(TWO)
    databases = TenantDatabases(SCHEMA, data=agents.data)
    async with databases.transaction("acme") as db:
        await db.execute(change)
    await databases.aclose()
    with pytest.raises(Diverged) as diverged:
        await agents.acme.call("replay", {"run": run["id"]})
    assert diverged.value.data["at"].startswith(at)
