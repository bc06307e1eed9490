"""Runs through the doors: followed, held, cancelled."""

from __future__ import annotations

import httpx2
import pytest

import tausestack as ts
from stack import Stack, Tenant

INVOICE = "Crea una factura para Café Andino por 250.000 COP de asesoría"


@pytest.mark.covers("approvals:withdrawn", "client:stream-waits")
def test_a_stream_ends_where_the_run_waits_and_cancelling_withdraws_its_approval(stack: Stack, tenant: Tenant) -> None:
    with ts.connect_sync(tenant=tenant.name, api_key=tenant.key, url=stack.url) as client:
        told = list(client.agents.stream("concierge", INVOICE))
        assert [event.status for event in told if event.kind == "run"] == ["pending", "running", "interrupted"]
        assert [event.content["status"] for event in told if event.kind == "approval"] == ["pending"]
        (waiting,) = client.approvals.list(status="pending")
        assert client.agents.cancel(waiting["run"]).status == "cancelled"
        after = [event.status for event in client.agents.events(waiting["run"])]
        assert after[-1] == "cancelled"
    (withdrawn,) = tenant.client.get("/approvals").json()["approvals"]
    assert withdrawn["status"] == "withdrawn"
    decided = tenant.client.post(f"/approvals/{withdrawn['id']}", json={"decision": "approve"})
    assert decided.status_code == 409
    assert tenant.must("billing/list_invoices", {})["invoices"] == []


@pytest.mark.covers("agents:threads")
@pytest.mark.parametrize("name", ["whatsapp/573001112233", "../../etc", "niña & 100%?"])
def test_a_thread_is_read_and_deleted_by_the_name_it_was_given(stack: Stack, tenant: Tenant, name: str) -> None:
    with ts.connect_sync(tenant=tenant.name, api_key=tenant.key, url=stack.url) as client:
        run = client.agents.run("concierge", "hola", thread=name, wait=30)
        assert [turn["run"] for turn in client.threads.get(name)["turns"]] == [run.id]
        client.threads.delete(name)
        with pytest.raises(ts.errors.NotFound):
            client.threads.get(name)


@pytest.mark.covers("agents:readers")
def test_a_key_that_is_narrowed_to_other_tools_reads_no_run_thread_or_schedule(stack: Stack, tenant: Tenant) -> None:
    def narrowed(role: str, *scopes: str) -> Tenant:
        asked = {"role": role, **({"scopes": list(scopes)} if scopes else {})}
        return Tenant(tenant.name, tenant.must("auth/create_api_key", asked)["api_key"], stack.url)

    run = tenant.client.post("/runs", json={"agent": "concierge", "input": "Hola", "wait": 60}).json()
    at = f"/runs/{run['id']}"
    paths = ("/runs", at, f"{at}/events", "/threads", f"/threads/{run['thread']}", "/schedules")
    for strange in (narrowed("admin", "tools:call:storage/*"), narrowed("viewer", "tenant:admin")):
        for path in paths:
            refused = strange.client.get(path)
            assert (refused.status_code, refused.json().get("scope")) == (403, "tools:read"), (path, refused.text)
        assert strange.client.post(f"{at}/replay", json={}).status_code == 403
        assert strange.call("agents/get_run", {"run": run["id"]}).json()["code"] == "forbidden"
        assert "agents__get_run" not in strange.rpc("tools/list", {}).text
    for reader in (
        narrowed("viewer"),
        narrowed("agent"),
        narrowed("agent", "runs:write"),
        narrowed("agent", "tools:call:agents/ask-concierge"),
    ):
        assert [reader.client.get(path).status_code for path in paths[:5]] == [200] * 5


@pytest.mark.covers("agents:readers", "oauth:explain")
def test_what_lets_somebody_read_runs_is_what_explain_and_the_ledger_say(stack: Stack, tenant: Tenant) -> None:
    for role, scopes, rule in (
        ("viewer", None, "role:viewer"),
        ("agent", None, "role:agent"),
        ("agent", ["tools:call:agents/ask-concierge"], "scope:tools:call:agents/ask-concierge"),
        ("agent", ["tools:call:billing/*"], "bound:key"),
    ):
        made = tenant.must("auth/create_api_key", {"role": role, **({"scopes": scopes} if scopes else {})})
        who = f"key:{made['id']}"
        found = tenant.must("platform/explain", {"server": "agents", "tool": "list_runs", "principal": who})
        allowed = not rule.startswith("bound")
        assert (found["allowed"], found["rule"]) == (allowed, rule)
        assert found["needs"] == ["tools:read|runs:write|tools:call:agents/"]
        reader = Tenant(tenant.name, made["api_key"], stack.url)
        assert reader.client.get("/runs").status_code == (200 if allowed else 403)
        entry = next(one for one in tenant.client.get("/audit").json()["entries"] if one["principal"] == who)
        assert (entry["tool"], entry["rule"]) == ("list_runs", rule)


@pytest.mark.covers("agents:run-waits")
def test_each_door_answers_a_run_as_its_callers_expect_it(stack: Stack, tenant: Tenant) -> None:
    """A chat client and an agent get an outcome; a program gets the run at once, and waits by asking again."""
    asked = {"agent": "concierge", "input": "Valida el NIT 900.123.456-8"}
    chatted = tenant.rpc("tools/call", {"name": "agents__run", "arguments": asked}).json()["result"]
    assert chatted["structuredContent"]["status"] == "success", chatted
    posted = tenant.client.post("/runs", json=asked)
    assert posted.status_code == 202
    assert "agents/get_run" in posted.json()["next"]
    ended = tenant.client.get(f"/runs/{posted.json()['id']}", params={"wait": "30"}).json()
    assert (ended["status"], "next" in ended) == ("success", False)
    assert tenant.client.get(f"/runs/{posted.json()['id']}", params={"wait": "soon"}).status_code == 400


@pytest.mark.covers("agents:thread-turns")
def test_a_message_during_an_approval_is_accepted_and_served_after_it(stack: Stack, tenant: Tenant) -> None:
    def sent(text: str, message: str | None) -> httpx2.Response:
        body = {"agent": "concierge", "input": text, "thread": "wa-57300", "message": message, "wait": 20}
        return tenant.client.post("/runs", json=body)

    held = sent(INVOICE, "wamid.1").json()
    assert held["status"] == "interrupted"
    body = {"agent": "concierge", "input": "Valida el NIT 900.123.456-8", "thread": "wa-57300"}
    refused = tenant.client.post("/runs", json=body)
    assert (refused.status_code, refused.json()["reason"]) == (409, "thread_busy")
    waiting = tenant.client.post("/runs", json={**body, "message": "wamid.2"})
    assert (waiting.status_code, waiting.json()["behind"]) == (202, held["id"])
    wrong = {"decision": {"approve": False, "arguments": {}}}
    assert tenant.client.post(f"/runs/{held['id']}/resume", json=wrong).status_code == 422
    wrong = {"decision": "reject", "arguments": {}}
    assert tenant.client.post(f"/approvals/{held['interrupt']['approval']}", json=wrong).status_code == 422
    tenant.client.post(f"/runs/{held['id']}/resume", json={"decision": {"approve": True}}).raise_for_status()
    ended = tenant.client.get(f"/runs/{waiting.json()['id']}", params={"wait": "30"}).json()
    assert ended["status"] == "success", ended
    events = f"/runs/{ended['id']}/events"
    beyond = tenant.client.get(events, headers={"Last-Event-ID": "99999999999"})
    assert (beyond.status_code, beyond.text) == (200, "")
    assert tenant.client.get(events, headers={"Last-Event-ID": "last"}).status_code == 400
