"""Runs are steered: cut off in the middle of a call, paused, forked; what was done stays done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from both_databases import ON_BOTH
from run_events import log_of
from tausestack.database import TenantDatabases
from tausestack.errors import Conflict, Forbidden, InvalidArguments, NotFound
from tausestack.names import SYSTEM_TENANT
from tausestack_agents.tables import SCHEMA, dispatch

pytestmark = pytest.mark.anyio

TWO = 'Guarda {"modo": "oscuro"} en la clave ajustes/tema y dime qué hora es en Tokio'
"""Two calls one after the other: the first one writes."""
CLOCK = "mcp-server-time/get_current_time"


@ON_BOTH
@pytest.mark.covers("agents:cancel")
async def test_a_run_cancelled_in_the_middle_of_a_call_leaves_no_call_open_and_its_thread_goes_on(agents: Any) -> None:
    gate = agents.gateway.hold(CLOCK)
    started = await agents.acme.run(TWO, wait=0, thread="t1")
    await agents.gateway.reached(CLOCK)
    cancelled = await agents.acme.call("cancel", {"run": started["id"]})
    assert [step["status"] for step in cancelled["steps"]] == ["done", "cancelled"]
    assert "nobody knows" in cancelled["steps"][1]["error"]["message"]
    told = await log_of(agents.acme, started["id"])
    assert [data["status"] for _, kind, data in told if kind == "tool_result"] == ["done", "cancelled"]
    assert [kind for _, kind, _ in told][-2:] == ["cost", "run"]
    gate.set()
    after = await agents.acme.run("¿Qué hora es en Madrid?", thread="t1")
    assert after["status"] == "success"
    history = await agents.acme.call("get_thread", {"thread": "t1"})
    assert [turn["status"] for turn in history["turns"]] == ["cancelled", "success"]


@ON_BOTH
@pytest.mark.covers("agents:pause")
async def test_a_paused_run_ends_its_call_begins_no_other_and_goes_on_when_it_is_resumed(
    agents: Any, until: Callable[..., Any]
) -> None:
    gate = agents.gateway.hold("storage/put_json")
    started = await agents.acme.run(TWO, wait=0)
    await agents.gateway.reached("storage/put_json")
    assert (await agents.acme.call("pause", {"run": started["id"]}))["status"] == "running"
    gate.set()

    async def paused() -> Any:
        run = await agents.acme.call("get_run", {"run": started["id"]})
        return run["status"] == "interrupted" and run

    run = await until(paused)
    assert run["interrupt"] == {"kind": "pause"}
    for decision in ({"approve": False}, {"arguments": {}}, {"input": "no"}):
        with pytest.raises(InvalidArguments, match="waits for no decision"):
            await agents.acme.call("resume", {"run": started["id"], "decision": decision})
    assert [step["status"] for step in run["steps"]] == ["done"]
    assert agents.gateway.sent(CLOCK) == []
    assert (await agents.acme.call("pause", {"run": started["id"]}))["status"] == "interrupted"
    ended = await agents.acme.call("resume", {"run": started["id"], "wait": 60})
    assert ended["status"] == "success"
    assert [step["status"] for step in ended["steps"]] == ["done", "done"]
    assert len(agents.gateway.sent("storage/put_json")) == 1
    with pytest.raises(Conflict, match="success"):
        await agents.acme.call("pause", {"run": started["id"]})


@ON_BOTH
@pytest.mark.covers("agents:fork")
async def test_a_fork_keeps_what_was_done_before_its_checkpoint_and_does_the_rest_anew(
    agents: Any, until: Callable[..., Any]
) -> None:
    source = await agents.acme.run(TWO, thread="t1")
    (second,) = [
        data["call"]
        for _, kind, data in await log_of(agents.acme, source["id"])
        if kind == "tool_call" and data["tool"] == "get_current_time"
    ]
    forked = await agents.acme.call("fork", {"run": source["id"], "checkpoint": second}, key="f1")
    assert forked["thread"] != "t1"
    assert forked["origin"]["fork"] == source["id"]

    async def ended() -> Any:
        run = await agents.acme.call("get_run", {"run": forked["id"]})
        return run["status"] == "success" and run

    run = await until(ended)
    assert [step["tool"] for step in run["steps"]] == ["put_json", "get_current_time"]
    assert len(agents.gateway.sent("storage/put_json")) == 1
    assert len(agents.gateway.sent(CLOCK)) == 2
    assert len({call.key for call in agents.gateway.sent(CLOCK)}) == 2
    again = await agents.acme.call("fork", {"run": source["id"], "checkpoint": second}, key="f1")
    assert again["id"] == forked["id"]
    whole = await agents.acme.call("fork", {"run": source["id"]})
    await until(_success(agents, whole["id"]))
    assert len(agents.gateway.sent("storage/put_json")) == 2


@pytest.mark.covers("agents:fork")
async def test_a_fork_has_no_more_rights_than_the_credential_that_makes_it(agents: Any) -> None:
    source = await agents.acme.run("¿Qué hora es en Tokio?")
    acme = agents.acme
    held_to = frozenset({"runs:write", "tools:read"})
    narrow = type(acme)(agents.http, agents.signer, replace(acme.principal, bounds=held_to))
    forked = await narrow.call("fork", {"run": source["id"]})
    await acme.call("get_run", {"run": forked["id"], "wait": 60})
    given = [each["scopes"] for each in agents.gateway.delegations if each["run"] == forked["id"]]
    assert given
    assert all(held_to.issuperset(scopes) for scopes in given), given


@pytest.mark.covers("agents:threads", "agents:fork")
async def test_what_is_refused_leaves_no_work_that_is_looked_for_again_and_again(agents: Any) -> None:
    held = await agents.acme.run("Crea una factura para Café Andino por 1.500.000 COP de asesoría", thread="t1")
    assert held["status"] == "interrupted", held
    with pytest.raises(Conflict):
        await agents.acme.run("¿Qué hora es?", thread="t1", wait=0)
    for asked in ({"run": "run_none"}, {"run": held["id"], "checkpoint": "none"}, {"run": held["id"], "thread": "t1"}):
        with pytest.raises((Conflict, NotFound)):
            await agents.acme.call("fork", asked)
    databases = TenantDatabases(SCHEMA, data=agents.data, url=agents.database_url)
    async with databases.reading(SYSTEM_TENANT) as db:
        work = await db.execute(sa.select(dispatch.c.id))
    await databases.aclose()
    assert work == []


@pytest.mark.covers("agents:fork")
async def test_a_fork_is_of_a_run_and_a_checkpoint_that_there_are(agents: Any) -> None:
    source = await agents.acme.run("¿Qué hora es en Tokio?")
    with pytest.raises(NotFound, match="no such checkpoint"):
        await agents.acme.call("fork", {"run": source["id"], "checkpoint": "step-9/none"})
    with pytest.raises(NotFound):
        await agents.globex.call("fork", {"run": source["id"]})
    with pytest.raises(Forbidden):
        await agents.acting("acme", "concierge").call("fork", {"run": source["id"]})
    with pytest.raises(NotFound):
        await agents.globex.call("pause", {"run": source["id"]})
    assert len((await agents.acme.call("list_runs"))["runs"]) == 1


@ON_BOTH
@pytest.mark.covers("agents:approval-expires")
async def test_an_approval_that_expires_frees_its_run_which_says_that_it_was_not_approved(
    agents: Any, until: Callable[..., Any]
) -> None:
    agents.gateway.expires_in = 0.2
    held = await agents.acme.run("Dime qué hora es en Lima y crea una factura para Ana por 10 USD de té")
    assert held["interrupt"]["expires_at"]
    run = await until(_success(agents, held["id"]))
    assert [step["status"] for step in run["steps"]] == ["done", "rejected"]
    assert run["steps"][1]["error"]["code"] == "approval_expired"
    assert "expired" in run["output"]
    assert agents.gateway.effects["billing/create_invoice"] == 0
    approvals = [data for _, kind, data in await log_of(agents.acme, held["id"]) if kind == "approval"]
    assert [one["status"] for one in approvals] == ["pending", "expired"]


def _success(agents: Any, run: str) -> Callable[[], Any]:
    async def ended() -> Any:
        found = await agents.acme.call("get_run", {"run": run})
        return found["status"] == "success" and found

    return ended
