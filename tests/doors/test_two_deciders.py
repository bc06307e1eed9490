"""Two people decide on one approval at once, at two doors: one decision counts, and the other one is told so."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from remotes import eventually
from stack import Stack, Tenant

ROUNDS = 3
INVOICE = "Crea una factura para Café Andino por 250.000 COP de asesoría"


def held(tenant: Tenant) -> dict[str, Any]:
    run = tenant.client.post("/runs", json={"agent": "concierge", "input": INVOICE, "wait": 30}).json()
    assert run["status"] == "interrupted", run
    return run


def ended(tenant: Tenant, run: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found = tenant.client.get(f"/runs/{run}").json()
        return found if found["status"] not in {"pending", "running", "interrupted"} else None

    return eventually(there)


@pytest.mark.covers("approvals:one-decision")
def test_of_an_approval_and_a_rejection_at_once_one_counts_and_the_other_is_told(stack: Stack, tenant: Tenant) -> None:
    winners = {"approved": 0, "rejected": 0}
    for number in range(ROUNDS):
        run = held(tenant)
        approval = run["interrupt"]["approval"]
        command = ("approval", "reject", approval, "--tenant", tenant.name, "--reason", "too dear", "--json")
        with ThreadPoolExecutor(2) as pool:
            at_the_shell = pool.submit(stack.cli, *command, key=tenant.key, check=False)
            if number == 0:  # a shell takes its time: now and then it is to be the first
                at_the_shell.result()
            at_rest = pool.submit(tenant.client.post, f"/runs/{run['id']}/resume", json={"decision": {"approve": True}})
            shell, rest = at_the_shell.result(), at_rest.result()
        (kept,) = [one for one in tenant.client.get("/approvals").json()["approvals"] if one["id"] == approval]
        if shell.returncode == 0:
            assert json.loads(shell.stdout)["status"] == kept["status"] == "rejected"
            assert rest.status_code == 409, rest.text
            # By then the run may have gone on, and waits for nothing.
            assert "rejected already" in rest.json()["detail"] or "waits for nothing" in rest.json()["detail"]
            winners["rejected"] += 1
        else:
            assert rest.status_code == 200, rest.text
            assert kept["status"] in {"approved", "used"}
            (line,) = shell.stderr.splitlines()
            assert f"was {kept['status']} already" in line or "was approved already" in line, line
            winners["approved"] += 1
        (step,) = ended(tenant, run["id"])["steps"]
        assert step["status"] == ("rejected" if shell.returncode == 0 else "done")
    assert winners["rejected"] >= 1
    assert len(tenant.must("billing/list_invoices", {})["invoices"]) == winners["approved"]


@pytest.mark.covers("approvals:one-decision")
def test_an_edit_that_comes_second_is_refused_and_the_same_decision_again_is_not(tenant: Tenant) -> None:
    run = held(tenant)
    path = f"/approvals/{run['interrupt']['approval']}"
    approved = tenant.client.post(path, json={"decision": "approve"})
    assert approved.status_code == 200, approved.text
    edited = {**run["interrupt"]["arguments"], "customer_id": "Otro"}
    late = tenant.client.post(path, json={"decision": "approve", "arguments": edited})
    assert (late.status_code, late.json()["code"]) == (409, "conflict"), late.text
    assert "other arguments" in late.json()["detail"]
    assert tenant.client.post(path, json={"decision": "approve"}).status_code == 200
    assert ended(tenant, run["id"])["status"] == "success"
    (invoice,) = tenant.must("billing/list_invoices", {})["invoices"]
    assert invoice["customer_id"] == "Café Andino"
