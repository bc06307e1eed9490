"""A service whose disk takes nothing says that it is away, and goes on by itself once it does."""

from __future__ import annotations

import resource

import httpx2
import pytest

from remotes import eventually
from stack import Stack, Tenant

FULL = 8192
"""Bytes beyond which no file of the process grows: no log of SQLite's takes a page more."""


@pytest.mark.covers("errors:away")
def test_a_service_whose_disk_is_full_is_unavailable_until_it_is_not(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "before", "value": {"n": 1}})
    pid = stack.services()["storage"]["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL, before[1]))
    try:
        document = {"key": "big", "value": {"text": "x" * 50_000}}
        refused = tenant.call("storage/put_json", document)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable"), refused.text
        told = tenant.rpc("tools/call", {"name": "storage__put_json", "arguments": document}).json()
        assert told["error"]["data"]["code"] == "unavailable"
        newcomer = stack.tenant()
        assert newcomer.call("storage/put_json", document).status_code == 503
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    for one in (tenant, newcomer):
        assert eventually(lambda one=one: one.call("storage/put_json", document)).status_code == 200
    assert tenant.must("storage/get_json", {"key": "before"})["value"] == {"n": 1}
    assert stack.services()["storage"]["pid"] == pid
    lines = tenant.client.get("/audit?limit=20").json()["entries"]
    assert "unavailable" in {line.get("error") for line in lines}


@pytest.mark.covers("health:ready", "ledger:failure")
def test_a_gateway_whose_ledger_takes_nothing_is_not_ready_until_it_does(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "before", "value": {"n": 1}})
    pid = stack.operator("GET", "doctor").json()["gateway"]["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        refused = tenant.call("storage/put_json", {"key": "after", "value": {"n": 1}})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable"), refused.text
        ready = eventually(lambda: (found := asked(stack, "/health/ready")).status_code == 503 and found)
        assert ready.json()["away"] == ["ledger"]
        assert asked(stack, "/health").json()["status"] == "healthy"
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert eventually(lambda: asked(stack, "/health/ready").status_code == 200)
    assert tenant.call("storage/put_json", {"key": "after", "value": {"n": 1}}).status_code == 200


def asked(stack: Stack, path: str) -> httpx2.Response:
    return httpx2.get(stack.url + path, timeout=30, trust_env=False, verify=False)
