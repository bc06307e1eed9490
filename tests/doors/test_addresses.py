"""What people write for an endpoint's address, and what they are told where it is none."""

from __future__ import annotations

import httpx2
import pytest

from sessions import Earlier, endpoint
from stack import Tenant


@pytest.mark.covers("endpoints:final-slash")
def test_a_slash_at_the_end_changes_nothing(tenant: Tenant) -> None:
    tenant.install("colombia")
    for server, tool in ((None, "colombia__validate_nit"), ("colombia", "validate_nit")):
        url = endpoint(tenant, server)
        client = Earlier(f"{url}/", tenant.key)
        assert not client.call(tool, {"nit": "900123456-8"}).get("isError")
        stranger = httpx2.post(f"{url}/", json={}, timeout=60, trust_env=False)
        assert stranger.status_code == 401
        metadata = stranger.headers["www-authenticate"].partition('resource_metadata="')[2].rstrip('"')
        for place in (metadata, f"{metadata}/"):
            assert httpx2.get(place, timeout=60, trust_env=False).json()["resource"] == url
        assert httpx2.post(f"{url}//", json={}, timeout=60, trust_env=False).status_code == 404


@pytest.mark.covers("endpoints:final-slash")
def test_an_address_that_ends_early_is_none(tenant: Tenant) -> None:
    for path in (
        "",
        "api",
        "api/",
        "api/v2",
        "api/v2/",
        "api/v2/tenants",
        "api/v2/tenants/",
        "tenants",
        "tenants/",
        "tenants/x/",
    ):
        for slashes in ("", "/", "//x"):
            for method in ("GET", "POST", "PATCH", "DELETE"):
                url = f"{tenant.url}/{path}{slashes}"
                reply = httpx2.request(method, url, timeout=60, trust_env=False)
                assert reply.status_code in {401, 404, 405}, (method, url, reply.text)


@pytest.mark.covers("endpoints:final-slash")
def test_who_forgets_the_version_is_told_both_ways_to_say_it(tenant: Tenant) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    reply = httpx2.post(endpoint(tenant), json=asked, headers=tenant.headers, timeout=60, trust_env=False)
    assert reply.status_code == 400
    assert "send 2026-07-28, or open a session with initialize" in reply.json()["error"]["message"]
