"""What one tenant wrote, installed or ran, another can't read, list, call or tell from what does not exist."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

import tausestack as ts
from stack import Stack, Tenant, mcp_request
from tausestack.errors import NotFound

CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def acme(stack: Stack) -> Tenant:
    """A tenant that has written, installed, billed and run something, all with a canary in it."""
    tenant = stack.tenant()
    tenant.install("colombia")
    tenant.must("storage/put_json", {"key": CANARY, "value": {"secret": CANARY}})
    tenant.must(
        "billing/create_invoice",
        {"customer_id": CANARY, "items": [{"description": CANARY, "quantity": 1, "unit_price_minor": 1000}]},
    )
    run = tenant.client.post(
        "/runs", json={"agent": "concierge", "input": f"{CANARY}: ¿es válido el NIT 900.123.456-8?", "wait": 30}
    )
    assert run.status_code in {200, 202}, run.text
    return tenant


@pytest.fixture(scope="module")
def globex(stack: Stack) -> Tenant:
    return stack.tenant()


def shown(reply: httpx2.Response) -> tuple[int, Any, list[str]]:
    """Return what a stranger can compare: status, body without the call's own id, names of headers."""
    body = reply.json() if reply.content else None
    return reply.status_code, body, sorted(name for name in reply.headers if name != "tausestack-call")


@pytest.mark.covers("isolation:lists")
def test_nothing_of_another_tenant_is_listed(acme: Tenant, globex: Tenant) -> None:
    for path in (
        "/tools",
        "/servers",
        "/runs",
        "/approvals",
        "/usage",
        "/audit?limit=500",
        "/keys",
        "/openapi.json",
        "/agents",
    ):
        mine, theirs = acme.client.get(path), globex.client.get(path)
        assert mine.status_code == theirs.status_code == 200, path
        assert CANARY not in theirs.text, path
        assert acme.name not in theirs.text, path
        assert path == "/agents" or "colombia/" not in theirs.text, path  # what comes built in names it for everybody
    assert globex.must("storage/list_keys", {})["keys"] == []
    assert globex.must("billing/list_invoices", {})["invoices"] == []
    listed = globex.rpc("tools/list", {}).json()["result"]["tools"]
    assert not [tool for tool in listed if tool["name"].startswith("colombia")]


@pytest.mark.covers("isolation:not-yours-is-not-there")
def test_another_tenants_paths_look_like_those_of_none(stack: Stack, acme: Tenant, globex: Tenant) -> None:
    run = acme.client.get("/runs").json()["runs"][0]["id"]
    paths = [
        "tools",
        "servers",
        "servers/storage",
        f"runs/{run}",
        f"runs/{run}/events",
        "usage",
        "audit",
        "approvals",
        "keys",
        "openapi.json",
    ]
    for path in paths:
        theirs = httpx2.get(
            f"{stack.url}/api/v2/tenants/{acme.name}/{path}",
            headers=globex.headers,
            timeout=60,
            trust_env=False,
            verify=False,
        )
        nobodys = httpx2.get(
            f"{stack.url}/api/v2/tenants/nobody/{path}",
            headers=globex.headers,
            timeout=60,
            trust_env=False,
            verify=False,
        )
        assert theirs.status_code == 404, path
        assert shown(theirs) == shown(nobodys), path
    for server, name in ((None, "storage__get_json"), ("storage", "get_json")):
        call = {"name": name, "arguments": {"key": CANARY}}
        theirs = mcp_request(stack.url, acme.name, globex.key, "tools/call", call, server=server)
        nobodys = mcp_request(stack.url, "nobody", globex.key, "tools/call", call, server=server)
        assert theirs.status_code == 404
        assert shown(theirs) == shown(nobodys)
        assert CANARY not in theirs.text


@pytest.mark.covers("isolation:objects")
def test_another_tenants_objects_are_not_there(acme: Tenant, globex: Tenant) -> None:
    run = acme.client.get("/runs").json()["runs"][0]["id"]
    for path, absent in ((f"/runs/{run}", f"/runs/{'x' * len(run)}"), ("/servers/colombia", "/servers/colombiz")):
        assert acme.client.get(path).status_code == 200
        theirs, nobodys = globex.client.get(path), globex.client.get(absent)
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json().keys() == nobodys.json().keys()
    for verb in ("resume", "cancel"):
        assert (
            globex.client.post(
                f"/runs/{run}/{verb}", json={"decision": {"approve": True}} if verb == "resume" else {}
            ).status_code
            == 404
        )
    invoice = acme.must("billing/list_invoices", {})["invoices"][0]["id"]
    mine = globex.call("billing/get_invoice", {"invoice_id": invoice})
    none = globex.call("billing/get_invoice", {"invoice_id": "0" * len(invoice)})
    assert mine.status_code == none.status_code == 422
    assert mine.json()["cause"] == none.json()["cause"] == "not_found"
    assert globex.call("storage/get_json", {"key": CANARY}).json()["cause"] == "not_found"
    assert globex.call("colombia/validate_nit", {"nit": "900123456-8"}).status_code == 404


@pytest.mark.covers("isolation:sdk-and-cli")
def test_sdk_and_cli_see_no_more_than_the_doors(stack: Stack, acme: Tenant, globex: Tenant) -> None:
    told: list[str] = []
    for name in (acme.name, "nobody"):
        with (
            ts.connect_sync(tenant=name, api_key=globex.key, url=stack.url) as client,
            pytest.raises(NotFound) as refused,
        ):
            client.call("storage/get_json", {"key": CANARY})
        told.append(str(refused.value))
    assert told[0] == told[1]
    arguments = json.dumps({"key": CANARY})
    ended = [
        stack.cli("call", "storage/get_json", "--tenant", name, "--args", arguments, key=globex.key, check=False)
        for name in (acme.name, "nobody")
    ]
    assert ended[0].returncode == ended[1].returncode != 0
    assert ended[0].stderr.replace(acme.name, "nobody") == ended[1].stderr
    assert CANARY not in ended[0].stdout + ended[0].stderr


@pytest.mark.covers("isolation:files")
def test_each_tenant_has_its_own_files_and_logs_hold_no_canary(stack: Stack, acme: Tenant, globex: Tenant) -> None:
    globex.must("storage/put_json", {"key": "mine", "value": {}})
    for path in (stack.data / "tenants" / globex.name).rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path.name
    assert any(CANARY.encode() in path.read_bytes() for path in (stack.data / "tenants" / acme.name).rglob("*.db*"))
    assert CANARY not in stack.log.read_text()
    assert acme.key not in stack.log.read_text()
    everything = b"".join(path.read_bytes() for path in stack.data.rglob("*") if path.is_file())
    assert acme.key.encode() not in everything


@pytest.mark.covers("isolation:names")
@pytest.mark.parametrize("name", ["a", "..", "../t1", "t1%2f..", "_system", "T1", "t1'--", "t%", "t_", "x" * 80])
def test_odd_names_are_just_not_there(stack: Stack, globex: Tenant, name: str) -> None:
    reply = httpx2.get(
        f"{stack.url}/api/v2/tenants/{name}/tools", headers=globex.headers, timeout=60, trust_env=False, verify=False
    )
    assert reply.status_code == 404
    assert stack.operator("POST", "tenants", json={"id": name}).status_code in {409, 422, 400} or name == "t_"
