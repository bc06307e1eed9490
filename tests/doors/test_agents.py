"""Agents as data at the doors: saved, listed as tools, run, held by their rules, there for their tenant alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tausestack as ts
from stack import Stack, Tenant

KEEPER = {
    "name": "keeper",
    "title": "Keeper",
    "description": "Keeps documents.",
    "instructions": "Keep.",
    "tools": ["storage/*"],
}


def named(tenant: Tenant) -> set[str]:
    return {tool["name"] for tool in tenant.rpc("tools/list", {}).json()["result"]["tools"]}


@pytest.mark.covers("agents:agents-are-tools")
def test_a_tenants_agents_are_tools_in_its_own_list_and_in_no_other(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    assert {"agents__ask-concierge", "agents__ask-billing"} <= named(other)
    made = tenant.client.post("/agents", json=KEEPER)
    assert (made.status_code, made.json()["version"]) == (201, 1), made.text
    assert tenant.client.post("/agents", json=KEEPER).status_code == 200
    assert "agents__ask-keeper" in named(tenant)
    (listed,) = [one for one in tenant.client.get("/tools").json()["tools"] if one["address"] == "agents/ask-keeper"]
    assert listed["description"] == "Ask the agent keeper. Keeper: Keeps documents."
    tenant.must("storage/put_json", {"key": "notas/uno", "value": 1})
    run = tenant.must("agents/ask-keeper", {"input": "Lee la clave notas/uno"})
    assert (run["status"], run["agent"], [step["tool"] for step in run["steps"]]) == (
        "success",
        "keeper",
        ["get_json"],
    )
    assert "agents__ask-keeper" not in named(other)
    refused = [other.call(f"agents/ask-{name}", {"input": "hola"}) for name in ("keeper", "nobody")]
    assert [(one.status_code, one.json()["detail"]) for one in refused] == [(404, refused[0].json()["detail"])] * 2
    assert other.client.get("/agents/keeper").status_code == 404
    assert other.client.delete("/agents/keeper").status_code == 404
    assert tenant.client.delete("/agents/keeper").status_code == 200
    assert "agents__ask-keeper" not in named(tenant)
    assert tenant.call("agents/ask-keeper", {"input": "hola"}).status_code == 404


@pytest.mark.covers("agents:saving-gives-no-right")
def test_only_who_manages_servers_saves_agents(stack: Stack, tenant: Tenant) -> None:
    for role in ("agent", "viewer"):
        key = tenant.client.post("/keys", json={"role": role}).json()["api_key"]
        with ts.connect_sync(tenant=tenant.name, api_key=key, url=stack.url) as client:
            for work in (
                lambda client=client: client.agents.save(KEEPER),
                lambda client=client: client.agents.delete("keeper"),
                lambda client=client: client.agents.save_preset("research"),
            ):
                with pytest.raises(ts.errors.Forbidden) as refused:
                    work()
                assert refused.value.data["scope"] == "servers:manage"


@pytest.mark.covers("agents:rules")
def test_an_agents_rule_holds_a_call_that_nobody_else_would_and_binds_it(stack: Stack, tenant: Tenant) -> None:
    spec = ts.agents.AgentSpec(
        name="keeper",
        instructions="Keep.",
        tools=("storage/*",),
        approvals=(ts.agents.ApprovalRule(side_effect="write", reason="It changes something."),),
    )
    with ts.connect_sync(tenant=tenant.name, api_key=tenant.key, url=stack.url) as client:
        client.agents.save(spec)
        tenant.must("storage/put_json", {"key": "notas/uno", "value": 1})
        held = client.agents.run("keeper", "Borra la clave notas/uno", wait=60)
        assert held.status == "interrupted", held
        assert held.interrupt is not None
        (waiting,) = client.approvals.list(status="pending")
        assert (waiting["tool"], waiting["arguments"]) == ("delete_json", {"key": "notas/uno"})
        assert tenant.must("storage/get_json", {"key": "notas/uno"})["value"] == 1
        done = client.agents.resume(held.id, {"approve": True}, wait=60)
        assert done.status == "success", done
    assert tenant.call("storage/get_json", {"key": "notas/uno"}).status_code != 200


@pytest.mark.covers("agents:teams", "agents:runs-start-runs")
def test_a_team_runs_through_the_real_gateway(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "notas/uno", "value": 1})
    tenant.client.post("/agents", json=KEEPER)
    team = {"name": "office", "tasks": [
        {"id": "one", "agent": "keeper", "task": "Lee la clave notas/uno"},
        {"id": "two", "agent": "keeper", "task": "{input}", "depends_on": ["one"]},
    ]}  # fmt: skip
    with ts.connect_sync(tenant=tenant.name, api_key=tenant.key, url=stack.url) as client:
        assert client.agents.save_team(team)["new"]
        done = client.agents.run_team("office", "¿Qué documentos hay?", wait=100)
        assert done.status == "success", done
        assert [step.status for step in done.steps] == ["done", "done"]
        below = [run for run in client.agents.list() if run.agent == "keeper"]
        assert {run.status for run in below} == {"success"}
        client.agents.delete_team("office")
        assert client.agents.teams()["teams"] == []


@pytest.mark.covers("agents:saved")
def test_an_agent_is_saved_from_a_file_by_the_command(stack: Stack, tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "keeper.yaml"
    file.write_text("name: keeper\ninstructions:\n  es: Guarda.\ntools: ['storage/*']\n")

    def told(*arguments: str) -> Any:
        return stack.cli_json("agent", *arguments, "--tenant", tenant.name, key=tenant.key)

    assert told("save", str(file))["version"] == 1
    assert told("get", "keeper")["spec"]["instructions"] == {"es": "Guarda."}
    file.write_text("name: keeper\nname: other\n")
    wrong = stack.cli("agent", "save", str(file), "--tenant", tenant.name, key=tenant.key, check=False)
    assert wrong.returncode == 1
    assert "twice" in wrong.stderr
    file.write_text("name: keeper\ninstructions: x\nbudget: {tokens: many}\n")
    wrong = stack.cli("agent", "save", str(file), "--tenant", tenant.name, key=tenant.key, check=False)
    assert "budget.tokens" in wrong.stderr
