"""A run that is cancelled in the middle of a call cancels that call at its server."""

from __future__ import annotations

import pytest

from remotes import eventually, party
from stack import Stack, Tenant


@pytest.mark.covers("agents:cancel-reaches-the-server")
def test_cancelling_a_run_ends_the_call_at_a_third_partys_server(stack: Stack, tenant: Tenant) -> None:
    with party(stack.remote_ports[1], "slow") as server:
        report = {"name": "wait_report", "description": "Get the monthly report.", "inputSchema": {"type": "object"}}
        server.more_tools([{**report, "annotations": {"readOnlyHint": True}}])
        tenant.install(server.url, name="slow")
        given = {"agent": "concierge", "input": "Get the monthly report", "thread": "t1"}
        run = tenant.client.post("/runs", json=given).json()
        eventually(lambda: any(one["message"]["params"]["name"] == "wait_report" for one in server.calls("tools/call")))
        cancelled = tenant.client.post(f"/runs/{run['id']}/cancel").json()
        assert [(step["tool"], step["status"]) for step in cancelled["steps"]] == [("wait_report", "cancelled")]
        eventually(lambda: {"gone": "tools/call", "about": "wait_report"} in server.log())
    again = tenant.client.post("/runs", json={**given, "input": "Lista las facturas", "wait": 60}).json()
    assert again["status"] == "success", again
    assert [turn["status"] for turn in tenant.client.get("/threads/t1").json()["turns"]] == ["cancelled", "success"]
