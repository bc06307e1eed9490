"""A third party's package that was really installed, and is hostile: it costs another tenant nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from attackers import cost
from remotes import eventually, listening
from stack import Stack, Tenant, running
from wheels import publish

HOSTILE = Path(__file__).parents[1] / "fakes" / "adapters" / "unbounded.py"
REF = "pypi:unbounded==1.0"
BROKEN_OFF = {"409", "503"}
"""What a caller is told of a server that broke off, or that is left alone for a while since it keeps doing that."""


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose package index has one package, which goes beyond every bound that its configuration names."""
    folder = tmp_path_factory.mktemp("besieged")
    publish(folder / "index", "unbounded", HOSTILE)
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "index")}
    with running(folder / "data", **index) as started:
        yield started


def installed(stack: Stack, mode: str) -> Tenant:
    tenant = stack.tenant()
    tenant.install(REF, config={"MODE": mode})
    return tenant


def a_line_without_end_costs_nothing(stack: Stack, seconds: float, calls: int) -> None:
    attacker = installed(stack, "line")
    path = f"/api/v2/tenants/{attacker.name}/tools/unbounded/fine"
    first = attacker.call("unbounded/fine", {})
    assert first.json()["code"] == "in_doubt", first.text
    assert "line" in first.json()["detail"]
    attack = ["requests", stack.url, path, attacker.key, "{}"]
    said = cost(stack, attack, seconds, calls, about="a line of 600 MB", adapter=attacker.name)
    assert set(said) <= BROKEN_OFF


def a_vast_schema_costs_nothing(stack: Stack, seconds: float, calls: int) -> None:
    attacker = installed(stack, "nodes")
    path = f"/api/v2/tenants/{attacker.name}/tools/registry/plan"
    asked = {"ref": REF, "config": {"MODE": "nodes"}, "name": "again"}
    plan = attacker.must("registry/plan", asked)
    assert [tool["name"] for tool in plan["tools"]] == ["fine"]
    assert [(one["name"], "5000 values" in one["reason"]) for one in plan["left_out"]] == [("many", True)]
    (there,) = [one for one in attacker.client.get("/servers").json()["servers"] if one["name"] == "unbounded"]
    assert [tool["name"] for tool in there["tools"]] == ["fine"]
    assert attacker.call("unbounded/many", {}).status_code == 404
    assert attacker.call("unbounded/fine", {}).status_code == 200
    attack = ["requests", stack.url, path, attacker.key, json.dumps(asked)]
    said = cost(stack, attack, seconds, calls, about="plans of a schema of 50,000 values", adapter=attacker.name)
    assert set(said) == {"200"}


@pytest.mark.covers("adapters:pins")
def test_a_tool_that_a_hosted_server_adds_waits_for_approval_at_its_word(besieged: Stack) -> None:
    tenant = installed(besieged, "growing")
    with listening(tenant, {"toolsListChanged": True}) as messages:
        assert next(messages)["method"] == "notifications/subscriptions/acknowledged"
        assert tenant.call("unbounded/fine", {}).status_code == 200
        eventually(lambda: tenant.client.get("/servers/unbounded").json()["status"] == "quarantined", 50)
        assert next(messages)["method"] == "notifications/tools/list_changed"
    assert tenant.call("unbounded/new", {}).status_code == 404
    assert tenant.call("unbounded/fine", {}).status_code == 200
    assert tenant.client.post("/servers/unbounded/approve", json={"approve": True}).status_code == 200
    eventually(lambda: "new" in {tool["name"] for tool in tenant.client.get("/servers/unbounded").json()["tools"]})


@pytest.mark.anyio
@pytest.mark.covers("attacks:silent")
async def test_a_child_that_answers_nobody_keeps_no_call_of_another_waiting(besieged: Stack) -> None:
    tenant = besieged.tenant()
    for name, mode in (("silent", "silent"), ("fine", "")):
        tenant.install(REF, name=name, config={"MODE": mode})
    async with tenant.tools(connections=100, timeout=20) as client:
        assert (await client.post("/fine/fine", json={})).status_code == 200
        waiting = [asyncio.ensure_future(client.post("/silent/fine", json={}, timeout=None)) for _ in range(80)]
        for _ in range(20):
            assert (await client.post("/fine/fine", json={})).status_code == 200
        assert not any(one.done() for one in waiting)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)


@pytest.mark.covers("attacks:vast-line")
def test_a_child_that_writes_a_line_without_end_costs_another_tenant_nothing(besieged: Stack) -> None:
    a_line_without_end_costs_nothing(besieged, 1, 100)


@pytest.mark.covers("attacks:vast-schema")
def test_a_schema_of_fifty_thousand_values_is_left_out_and_costs_another_tenant_nothing(besieged: Stack) -> None:
    a_vast_schema_costs_nothing(besieged, 1, 100)


@pytest.mark.soak
@pytest.mark.covers("attacks:vast-line")
def test_a_minute_of_lines_without_end_costs_another_tenant_nothing(besieged: Stack) -> None:
    a_line_without_end_costs_nothing(besieged, 60, 2_000)


@pytest.mark.soak
@pytest.mark.covers("attacks:vast-schema")
def test_a_minute_of_vast_schemas_costs_another_tenant_nothing(besieged: Stack) -> None:
    a_vast_schema_costs_nothing(besieged, 60, 2_000)
