"""A tenant made again under an id that was deleted: whatever was given out for the one before is nothing to it."""

from __future__ import annotations

import os
from typing import Any

import httpx2
import pytest

from filled import HELD
from oauth_client import PASSWORD
from sessions import Earlier, endpoint
from stack import Stack, Tenant

ANA = "ana@acme.co"
ASKING = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {}}
TASKING = {"io.modelcontextprotocol/clientCapabilities": TASKS}


def made(stack: Stack, name: str) -> Tenant:
    """Make a tenant in which somebody goes by the same name, with the same password, each time."""
    tenant = stack.tenant(name)
    tenant.must("auth/create_user", {"id": ANA, "roles": ["admin"], "password": PASSWORD})
    tenant.install("colombia")
    return tenant


def credentials(stack: Stack, tenant: Tenant) -> dict[str, str]:
    """Return a credential of each kind with which the same somebody acts in the tenant."""
    signed_in = tenant.must("auth/login", {"user": ANA, "password": PASSWORD})
    session = stack.operator("POST", f"tenants/{tenant.name}/session", json={}).json()
    return {"key": tenant.key, "token": signed_in["access_token"], "delegation": session["token"]}


def as_holder(tenant: Tenant, credential: str) -> Tenant:
    return Tenant(tenant.name, credential, tenant.url)


def held_run(tenant: Tenant, meta: dict[str, Any], **more: Any) -> dict[str, Any]:
    arguments = {"agent": "concierge", "input": HELD, "wait": 60}
    said = tenant.rpc("tools/call", {"name": "agents__run", "arguments": arguments, "_meta": meta, **more}).json()
    return said.get("result") or said["error"]


def seen_after(tenant: Tenant, run: str, event: str) -> int:
    headers = {"Last-Event-ID": event, "Accept": "text/event-stream"}
    with tenant.client.stream("GET", f"/runs/{run}/events", headers=headers) as reply:
        return reply.status_code


@pytest.mark.covers("life:incarnations", "identity:incarnations")
def test_nothing_that_was_given_out_for_a_deleted_tenant_is_good_for_the_next_one_of_its_id(stack: Stack) -> None:
    name = f"reborn-{os.getpid()}"
    before = made(stack, name)
    held = credentials(stack, before)
    sessions = {kind: Earlier(endpoint(before), credential, capabilities={}) for kind, credential in held.items()}
    asked = {kind: held_run(as_holder(before, held[kind]), ASKING) for kind in ("token", "delegation")}
    assert {one["resultType"] for one in asked.values()} == {"input_required"}
    task = held_run(before, TASKING)["taskId"]
    assert before.rpc("tasks/get", {"taskId": task, "_meta": TASKING}).status_code == 200
    run = before.client.get("/runs").json()["runs"][0]["id"]
    approval = before.client.get("/approvals").json()["approvals"][0]["id"]
    assert seen_after(before, run, "0") == 200
    for kind, session in sessions.items():
        assert session.ask("ping")["result"] == {}, kind

    stack.cli("tenant", "delete", name, "--yes")
    after = made(stack, name)
    current = credentials(stack, after)
    for kind, credential in held.items():
        refused = httpx2.get(f"{after.client.base_url}/tools", headers={"Authorization": f"Bearer {credential}"})
        assert refused.status_code == 401, kind
        assert as_holder(after, credential).rpc("tools/list", {}).status_code == 401, kind
    # Whoever goes by the same name now does not find the session, nor is its answer taken for one to their question.
    for kind, session in sessions.items():
        session.client.headers["Authorization"] = f"Bearer {current[kind]}"
        gone = session.post(session.request("ping"))
        assert (gone.status_code, "no such session" in gone.text) == (404, True), kind
        resumed = session.client.get(session.url, headers={"Last-Event-ID": f"{session.session}-0"})
        assert resumed.status_code == 404, kind
    for kind, question in asked.items():
        answer = {
            "requestState": question["requestState"],
            "inputResponses": {"approval": {"action": "accept", "content": {"decision": "approve"}}},
        }
        again = held_run(as_holder(after, current[kind]), ASKING, **answer)
        assert again["code"] == -32602, kind
    assert after.must("billing/list_invoices", {})["invoices"] == []
    assert after.rpc("tasks/get", {"taskId": task, "_meta": TASKING}).json()["error"]["code"] == -32602
    assert seen_after(after, run, "0") == after.client.get(f"/runs/{run}").status_code == 404
    assert after.client.post(f"/approvals/{approval}", json={"decision": "approve"}).status_code == 404
    assert run not in after.client.get("/runs").text
