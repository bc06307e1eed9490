"""A stack's services keep nothing by which what a caller sent could be tried."""

from __future__ import annotations

import sqlite3

import pytest

from stack import Stack, Tenant
from tausestack.mcp.digests import arguments_digest


@pytest.mark.covers("kit:keyed-digests")
def test_a_stacks_services_keep_digests_under_a_key(stack: Stack, tenant: Tenant) -> None:
    body = {"key": "a", "value": {"password": "guess me"}}
    first = tenant.must("storage/put_json", body, key="once")
    who = f"key:{tenant.key.split('_')[1]}"
    plain = arguments_digest(who, body)

    def kept(replacement: str | None = None) -> str:
        with sqlite3.connect(stack.data / "tenants" / tenant.name / "storage.db") as db:
            if replacement is not None:
                db.execute("UPDATE idempotency_keys SET digest = ?", [replacement])
            ((digest,),) = db.execute("SELECT digest FROM idempotency_keys").fetchall()
        db.close()
        return str(digest)

    assert len(kept().split(":")[1]) == 64
    assert plain not in kept()
    for _ in range(2):
        assert tenant.must("storage/put_json", body, key="once") == first
        refused = tenant.call("storage/put_json", {**body, "value": 1}, key="once")
        assert refused.json()["code"] == "idempotency_key_reused", refused.text
        kept(plain)  # as it was kept before there were keys
