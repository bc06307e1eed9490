"""Runs through the doors: followed, held, cancelled."""

from __future__ import annotations

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
        assert strange.call("agents/get_run", {"run": run["id"]}).json()["cause"] == "forbidden"
    for reader in (
        narrowed("viewer"),
        narrowed("agent"),
        narrowed("agent", "runs:write"),
        narrowed("agent", "tools:call:agents/ask-concierge"),
    ):
        assert [reader.client.get(path).status_code for path in paths[:5]] == [200] * 5
