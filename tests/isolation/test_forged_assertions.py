"""Forged and misused tokens are refused: by a service's own process, and at the gateway's door."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from forgery import Forge, forged
from stack import Stack, Tenant, mcp_request
from tausestack_runtime.services import socket_path
from tausestack_runtime.supervisor.control import ask

STORAGE, GATEWAY = "server:storage", "gateway"
AT_LEAST = 100


@contextmanager
def watched() -> Iterator[tuple[str, list[str]]]:
    """Serve a URL that a forger would have fetched, and note whoever comes."""
    visits: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(self.path)
            self.send_response(404)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", visits
        finally:
            server.shutdown()
            thread.join()


def at_service(stack: Stack, name: str, assertion: str, tool: str, arguments: dict[str, Any]) -> httpx2.Response:
    """Call a tool at a service's own socket, as only the gateway is meant to."""
    run = stack.data / "run"
    path = socket_path(run, name)
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {assertion}",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), trust_env=False, timeout=30) as client:
        return client.post("http://service/mcp", json=body, headers=headers)


def listed(stack: Stack, assertion: str) -> httpx2.Response:
    return at_service(stack, "storage", assertion, "list_keys", {})


@pytest.mark.covers("tokens:forged-at-services")
def test_a_service_process_refuses_every_forged_assertion(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "canary", "value": {"canary": 1}})
    forge = Forge(stack.data)
    good = forge.sign(forge.header, forge.claims(tenant.name, STORAGE))
    assert listed(stack, good).json()["result"]["structuredContent"]["keys"] == ["canary"]
    with watched() as (elsewhere, visits):
        cases = list(forged(forge, tenant.name, STORAGE, elsewhere))
        taken = [what for what, token in cases if (reply := listed(stack, token)).status_code not in {400, 401, 431}
                 or "canary" in reply.text]  # fmt: skip
    assert taken == []
    assert visits == []
    assert len(cases) >= AT_LEAST


@pytest.mark.covers("tokens:forged-at-the-gateway")
def test_the_gateway_refuses_every_forged_delegation(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "canary", "value": {"canary": 1}})
    forge = Forge(stack.data)
    call = {"name": "storage__list_keys", "arguments": {}}

    def ask_with(token: str) -> httpx2.Response:
        return mcp_request(stack.url, tenant.name, token, "tools/call", call)

    good = forge.sign(forge.header, forge.claims(tenant.name, GATEWAY))
    assert ask_with(good).json()["result"]["structuredContent"]["keys"] == ["canary"]
    with watched() as (elsewhere, visits):
        cases = [(what, token) for what, token in forged(forge, tenant.name, GATEWAY, elsewhere)]
        for incarnation in (None, "0" * 16):
            claims = forge.claims(tenant.name, GATEWAY, incarnation=incarnation)
            cases.append(("of a tenant that had the id before", forge.sign(forge.header, claims)))
        taken = [what for what, token in cases if (reply := ask_with(token)).status_code not in {400, 401, 431}
                 or "canary" in reply.text]  # fmt: skip
        for token in (tok for _, tok in cases[:12]):
            headers = {"Authorization": f"Bearer {token}"}
            assert (
                httpx2.get(
                    f"{stack.url}/api/v2/tenants/{tenant.name}/tools", headers=headers, trust_env=False
                ).status_code
                == 401
            )
    assert taken == []
    assert visits == []
    assert len(cases) >= AT_LEAST


@pytest.mark.covers("tokens:misused")
def test_a_good_token_is_good_for_its_own_audience_and_tenant_alone(stack: Stack, tenant: Tenant) -> None:
    other = stack.tenant()
    other.must("storage/put_json", {"key": "theirs", "value": {}})
    forge = Forge(stack.data)
    assertion = forge.sign(forge.header, forge.claims(tenant.name, STORAGE))
    delegation = forge.sign(forge.header, forge.claims(tenant.name, GATEWAY))
    session = stack.operator("POST", f"tenants/{tenant.name}/session").json()["token"]
    call = {"name": "storage__list_keys", "arguments": {}}
    # An assertion is no delegation, nor the reverse, nor another server's, nor another tenant's.
    assert mcp_request(stack.url, tenant.name, assertion, "tools/call", call).status_code == 401
    for wrong in (delegation, session, tenant.key, stack.operator_key):
        assert listed(stack, wrong).status_code == 401
    for name, tool in (("billing", "list_plans"), ("auth", "whoami"), ("registry", "list_installed")):
        assert at_service(stack, name, assertion, tool, {}).status_code == 401, name
    for server, name in (("storage", "list_keys"), (None, "storage__list_keys")):
        asked = {"name": name, "arguments": {}}
        reply = mcp_request(stack.url, other.name, session, "tools/call", asked, server=server)
        assert reply.status_code == 404
        assert "theirs" not in reply.text
    assert listed(stack, assertion).json()["result"]["structuredContent"]["keys"] == []


@pytest.mark.covers("tokens:retired-kid")
def test_calls_go_on_while_signing_keys_change_and_a_retired_kid_is_refused(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "canary", "value": {}})
    session = stack.operator("POST", f"tenants/{tenant.name}/session").json()["token"]
    forge = Forge(stack.data)
    assertion = forge.sign(forge.header, forge.claims(tenant.name, STORAGE))
    retired = forge.kid
    stop, failed = threading.Event(), list[str]()

    def keep_calling() -> None:
        with httpx2.Client(headers=tenant.headers, trust_env=False, timeout=60) as client:
            while not stop.is_set():
                reply = client.post(f"{tenant.url}/api/v2/tenants/{tenant.name}/tools/storage/list_keys", json={})
                if reply.status_code != 200:
                    failed.append(reply.text)

    callers = [threading.Thread(target=keep_calling) for _ in range(3)]
    for caller in callers:
        caller.start()
    kids = {retired}
    try:
        for _ in range(3):
            kids.add(stack.operator("POST", "keys/signing", json={}).json()["signing"][0]["kid"])
            assert listed(stack, assertion).status_code == 200
            assert stack_lists(stack, tenant, session).status_code == 200
        stack.cli("keys", "rotate", "signing", "--retire", retired)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failed == []
    assert len(kids) == 4
    assert listed(stack, assertion).status_code == 401
    assert stack_lists(stack, tenant, session).status_code == 401
    left = {key["kid"] for key in ask(stack.data / "run" / "control.sock", {"op": "keys"})["signing"]}
    assert retired not in left
    fresh = Forge(stack.data)
    assert listed(stack, fresh.sign(fresh.header, fresh.claims(tenant.name, STORAGE))).status_code == 200
    for kid in left - {fresh.kid}:  # the next tests' stack has one key again
        stack.operator("POST", "keys/signing", json={"retire": kid})


def stack_lists(stack: Stack, tenant: Tenant, token: str) -> httpx2.Response:
    return mcp_request(stack.url, tenant.name, token, "tools/call", {"name": "storage__list_keys", "arguments": {}})
