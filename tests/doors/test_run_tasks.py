"""A run as a task of MCP: it is asked after, answered and cancelled as one; a call that waits tells its progress."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from stack import Tenant

INVOICE = "Dime qué hora es y crea una factura para Café Andino por 250.000 COP de asesoría"
LOOKUP = "Valida el NIT 900.123.456-8"
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {}}
Message = dict[str, Any]


def ask(tenant: Tenant, method: str, capabilities: Message = TASKS, **params: Any) -> Message:
    """Send a request of a client that takes tasks, and return its result."""
    meta = {"io.modelcontextprotocol/clientCapabilities": capabilities}
    said = tenant.rpc(method, {**params, "_meta": meta}).json()
    assert "result" in said, said
    return said["result"]


def begin(tenant: Tenant, text: str, capabilities: Message = TASKS) -> str:
    """Start a run as a task and return the task's id."""
    given = {"agent": "concierge", "input": text}
    answer = ask(tenant, "tools/call", capabilities, name="agents__run", arguments=given)
    assert answer["resultType"] == "task", answer
    return answer["taskId"]


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something is so, and return what it then is."""
    give_up = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < give_up, "not in time"
        select.select([], [], [], 0.05)
    return found


def state(tenant: Tenant, task: str, status: str) -> Message:
    """Return a task once it has a status."""

    def there() -> Message | None:
        found = ask(tenant, "tasks/get", taskId=task)
        return found if found["status"] == status else None

    return until(there)


@pytest.mark.covers("agents:run-tasks")
def test_a_run_is_a_task_whose_question_is_answered_and_whose_result_is_the_run(tenant: Tenant) -> None:
    task = begin(tenant, INVOICE)
    waiting = state(tenant, task, "input_required")
    ((name, request),) = waiting["inputRequests"].items()
    assert request["method"] == "elicitation/create"
    assert "billing/create_invoice" in request["params"]["message"]
    said = {name: {"action": "accept", "content": {"decision": "approve"}}}
    ask(tenant, "tasks/update", taskId=task, inputResponses=said)
    ended = state(tenant, task, "completed")
    assert ended["result"]["structuredContent"]["status"] == "success", ended
    (invoice,) = tenant.must("billing/list_invoices", {})["invoices"]
    assert invoice["customer_id"] == "Café Andino"
    (approval,) = tenant.client.get("/approvals").json()["approvals"]
    assert (approval["status"], approval["decided_by"]) == ("used", approval["principal"])


@pytest.mark.covers("agents:run-tasks")
def test_what_is_decided_elsewhere_is_asked_no_more(tenant: Tenant) -> None:
    task = begin(tenant, INVOICE)
    state(tenant, task, "input_required")
    (waiting,) = tenant.client.get("/approvals?status=pending").json()["approvals"]
    tenant.client.post(f"/approvals/{waiting['id']}", json={"decision": "reject", "reason": "no"})
    ended = state(tenant, task, "completed")
    assert ended["result"]["structuredContent"]["steps"][-1]["status"] == "rejected"


@pytest.mark.covers("agents:run-tasks", "approvals:withdrawn")
def test_cancelling_the_task_cancels_the_run_and_a_client_without_forms_waits_for_others(tenant: Tenant) -> None:
    formless: Message = {"extensions": TASKS["extensions"]}
    task = begin(tenant, INVOICE, formless)
    (run,) = until(lambda: tenant.client.get("/runs?status=interrupted").json()["runs"])
    assert ask(tenant, "tasks/get", formless, taskId=task)["status"] == "working"
    ask(tenant, "tasks/cancel", formless, taskId=task)
    until(lambda: tenant.client.get(f"/runs/{run['id']}").json()["status"] == "cancelled")
    assert ask(tenant, "tasks/get", formless, taskId=task)["status"] == "cancelled"
    (approval,) = tenant.client.get("/approvals").json()["approvals"]
    assert (approval["status"], approval["decided_by"]) == ("withdrawn", approval["principal"])


@pytest.mark.covers("agents:run-progress")
def test_a_call_that_waits_for_its_run_tells_how_far_it_is(tenant: Tenant) -> None:
    tenant.install("colombia")
    given = {"agent": "concierge", "input": LOOKUP, "wait": 60}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": "p1",
    }
    params = {"name": "agents__run", "arguments": given, "_meta": meta}
    headers = {
        **tenant.headers,
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "agents__run",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    url = f"{tenant.url}/tenants/{tenant.name}/mcp"
    reply = httpx2.post(url, json=body, headers=headers, timeout=90, trust_env=False, verify=False)
    messages = [json.loads(line[5:]) for line in reply.text.splitlines() if line.startswith("data:")]
    told = [one["params"] for one in messages if one.get("method") == "notifications/progress"]
    assert {one["progressToken"] for one in told} == {"p1"}
    assert [one["progress"] for one in told] == sorted({one["progress"] for one in told})
    assert told[-1]["message"] == "colombia/validate_nit: done"
    assert messages[-1]["result"]["structuredContent"]["status"] == "success"
