"""A secret is where it was put, sealed, and nowhere else: canaries in every field that takes one or could carry one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from canaries import Canaries, answers, exports, files, processes
from remotes import Party, eventually, party
from stack import Stack, Tenant, free_port, mcp_request, running


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
def guarded(tmp_path: Path, canaries: Canaries) -> Iterator[Stack]:
    """A stack whose own secrets are canaries too."""
    ports = (free_port(), free_port())
    environment = {
        "TAUSESTACK_SECRET_KEY": canaries.new("TAUSESTACK_SECRET_KEY") + "0" * 20,
        "TAUSESTACK_SECRET_KEY_PREVIOUS": canaries.new("TAUSESTACK_SECRET_KEY_PREVIOUS") + "0" * 20,
        "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": ",".join(f"127.0.0.1:{port}" for port in ports),
        "TAUSESTACK_LOG_LEVEL": "debug",
    }
    with running(tmp_path / "data", **environment) as stack:
        stack.remote_ports = ports
        canaries.known("the operator's key", stack.operator_key)
        yield stack


def put_secrets(canaries: Canaries, tenant: Tenant, red: Party) -> None:
    """Put canaries where secrets belong."""
    canaries.known("an API key", tenant.key)
    header = {
        "Authorization": f"Bearer {canaries.new('a remote Authorization')}",
        "X-Key": canaries.new("a remote header"),
    }
    body = {"ref": red.url, "name": "red", "secrets": header}
    assert canaries.hear("a plan", tenant.client.post("/plans", json=body)).status_code == 200
    body["approve"] = True
    assert canaries.hear("an installation", tenant.client.post("/servers", json=body)).status_code == 201
    for name, values in (
        ("storage", {"TOKEN": canaries.new("a service's secret"), "GONE": canaries.new("a secret that is removed")}),
        ("storage", {"GONE": None, "TOKEN": canaries.new("a secret that is replaced")}),
        ("red", {"X-Later": canaries.new("a remote header set later")}),
    ):
        reply = canaries.hear("an update", tenant.client.patch(f"/servers/{name}", json={"secrets": values}))
        assert reply.status_code == 200, reply.text


def provoke(canaries: Canaries, stack: Stack, tenant: Tenant) -> None:
    """Put canaries where errors are made of them."""
    long = "x" * 40_000
    wrong: list[tuple[str, Any]] = [
        ("a secret of the wrong type", {"A": [canaries.new("a secret in a list")]}),
        ("a secret in an object", {"A": {"value": canaries.new("a secret in an object")}}),
        ("secrets as text", canaries.new("secrets as text")),
        ("a secret with a zero byte", {"A": canaries.new("a secret with a zero byte") + "\0"}),
        ("a secret too long", {"A": canaries.new("a secret too long") + long}),
        ("a reserved name", {"LD_PRELOAD": canaries.new("a secret of a reserved name")}),
    ]
    for what, given in wrong:
        canaries.hear(what, tenant.client.patch("/servers/storage", json={"secrets": given}))
        for path in ("/servers", "/plans"):
            body = {"ref": "http://127.0.0.1:9/mcp", "name": "bad", "secrets": given}
            canaries.hear(what, tenant.client.post(path, json=body))
        arguments = {"name": "storage", "secrets": given}
        canaries.hear(what, tenant.rpc("tools/call", {"name": "registry__update", "arguments": arguments}))
    for value in ("two\nlines ", "ñ ", "nul\0 "):
        headers = {"X-Key": value + canaries.new("a header that is none")}
        canaries.hear("a header that is none", tenant.client.patch("/servers/red", json={"secrets": headers}))
    for url in ("http://user:{}@127.0.0.1:9/mcp", "https://{}:x@example.invalid/mcp"):
        body = {"ref": url.format(canaries.new("a password in a URL")), "name": "bad"}
        assert canaries.hear("a password in a URL", tenant.client.post("/servers", json=body)).status_code >= 400
    both = {"X-Key": canaries.new("a value given twice")}
    body = {"ref": "http://127.0.0.1:9/mcp", "name": "bad", "secrets": both, "config": {"x-key": "y"}}
    canaries.hear("a value given twice", tenant.client.post("/servers", json=body))
    away = {"Authorization": canaries.new("a header for a server that is away")}
    body = {"ref": f"http://127.0.0.1:{stack.remote_ports[1]}/mcp", "name": "away", "secrets": away}
    assert canaries.hear("a server that is away", tenant.client.post("/servers", json=body)).status_code >= 400


def bear_credentials(canaries: Canaries, stack: Stack, tenant: Tenant) -> None:
    """Put canaries where credentials and keys are sent, good and bad."""
    call = {"name": "storage__list_keys", "arguments": {}}
    for form in ("Bearer {}", "Bearer tsk_abc_{}", "Basic {}", "{}", "Bearer a.{}.c", "Token {}", "Bearer {} x"):
        value = form.format(canaries.new(f"Authorization: {form}"))
        for url in (f"{stack.url}/api/v2/tenants/{tenant.name}/tools", f"{stack.url}/tenants/{tenant.name}/mcp"):
            sent = {"Authorization": value}
            canaries.hear("a bad credential", httpx2.post(url, json={}, headers=sent, trust_env=False))
    for name in (
        "Cookie",
        "Mcp-Session-Id",
        "X-Tausestack-Process",
        "X-Api-Key",
        "Tausestack-Approval",
        "Last-Event-Id",
    ):
        sent = {name: canaries.new(f"the header {name}")}
        reply = mcp_request(stack.url, tenant.name, tenant.key, "tools/call", call, **sent)
        canaries.hear(f"the header {name}", reply)
    query = f"{stack.url}/api/v2/tenants/{tenant.name}/tools?api_key={canaries.new('a key in the query')}"
    canaries.hear("a key in the query", httpx2.get(query, trust_env=False))
    for key in ("fine", "wrong"):
        sent = {"Idempotency-Key": canaries.new(f"an idempotency key, {key}"), **tenant.headers}
        body = {"key": "k", "value": {}} if key == "fine" else {"key": 7}
        url = f"{tenant.url}/api/v2/tenants/{tenant.name}/tools/storage/put_json"
        for _ in range(2):
            canaries.hear("an idempotency key", httpx2.post(url, json=body, headers=sent, trust_env=False))
    meta = {"pro.tause/idempotency-key": canaries.new("an idempotency key in _meta")}
    arguments = {"customer_id": "c", "items": [{"description": "d", "quantity": 1, "unit_price_minor": 100}]}
    asked = {"name": "billing__create_invoice", "arguments": arguments, "_meta": meta}
    assert canaries.hear("a keyed invoice", tenant.rpc("tools/call", asked)).json()["result"].get("isError") is not True
    made = stack.operator("POST", f"tenants/{tenant.name}/keys", json={"role": "viewer"}).json()
    canaries.known("a viewer's key", made["api_key"])
    stack.operator("DELETE", f"tenants/{tenant.name}/keys/{made['id']}")
    session = stack.operator("POST", f"tenants/{tenant.name}/session").json()["token"]
    canaries.known("a session's token", session)
    canaries.hear("a session's call", mcp_request(stack.url, tenant.name, session, "tools/call", call))


def call_red(canaries: Canaries, tenant: Tenant) -> None:
    """Have the remote server answer, refuse, forge, and break."""
    for tool, arguments in (("echo", {"text": "hi"}), ("refuse", {}), ("forge", {}), ("mistake", {}), ("late", {}),
                            ("proxied", {"status": 401}), ("proxied", {"status": 502})):  # fmt: skip
        canaries.hear(f"red/{tool}", tenant.call(f"red/{tool}", arguments))


@pytest.mark.timeout(180)
@pytest.mark.covers("isolation:secret-canaries")
def test_no_secret_is_seen_again_anywhere(guarded: Stack, canaries: Canaries) -> None:
    tenant = guarded.tenant("acme")
    other = guarded.tenant("globex")
    # What is no secret is kept as it is: so the search finds what there is to find.
    control = Canaries()
    tenant.must("storage/put_json", {"key": "control", "value": {"text": control.new("a document")}})
    with party(guarded.remote_ports[0], "red") as red:
        put_secrets(canaries, tenant, red)
        provoke(canaries, guarded, tenant)
        bear_credentials(canaries, guarded, tenant)
        call_red(canaries, tenant)
        sent = json.dumps(red.log())
        ours = (
            "an API key",
            "the operator's key",
            "a session's token",
            "an idempotency",
            "Authorization:",
            "the header",
        )
        assert [where for where in canaries.found_in(sent.encode()) if where.startswith(ours)] == []
        assert {"a remote Authorization", "a remote header", "a remote header set later"} <= {
            *canaries.found_in(sent.encode())
        }
    call_red(canaries, tenant)  # it is away now
    os.kill(guarded.services()["registry"]["pid"], signal.SIGKILL)
    eventually(lambda: tenant.client.get("/servers").status_code == 200)
    for renew in (False, True):
        for name in ("acme", "globex", "_system"):
            assert guarded.operator("POST", f"keys/tenants/{name}", json={"renew": renew}).json()["left"] == 0
    guarded.operator("POST", "keys/signing", json={})
    assert canaries.leaks(exports(guarded, tenant)) == []
    assert canaries.leaks(exports(guarded, other)) == []
    assert canaries.leaks(answers(canaries)) == []
    assert canaries.leaks(processes(guarded)) == []
    assert canaries.leaks(files(guarded)) == []
    assert len(canaries.put) > 40
    assert {leak.removesuffix("-wal") for leak in control.leaks(files(guarded))} == {
        "a document in tenants/acme/storage.db"
    }
