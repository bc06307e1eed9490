"""What doctor tells of tenants that are no more, and what else the operator sets for a tenant."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stack import Stack, Tenant

GONE = "gone-without-trace"


def told(stack: Stack) -> str:
    """Return what doctor tells; how fast this machine is, which it tells too, is no matter here."""
    found = json.loads(stack.cli("doctor", "--json", check=False).stdout)["checks"]
    return next(one["value"] for one in found if one["check"] == "left of deleted tenants")


@pytest.mark.covers("life:leftovers")
def test_doctor_tells_what_is_left_of_tenants_that_are_no_more(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "k", "value": 1})
    tenant.client.get("/servers")
    before = told(stack)
    assert GONE not in before
    assert tenant.name not in before

    # As if a deletion had left all this.
    folder = stack.data / "tenants" / GONE
    shutil.copytree(stack.data / "tenants" / tenant.name, folder)
    stray = Path(stack.operator("GET", "doctor").json()["supervisor"]["run"]) / "adapter-0123456789abcdef.sock"
    stray.touch()
    with closing(sqlite3.connect(stack.data / "tenants" / "_system" / "auth.db")) as system, system:
        system.execute("INSERT INTO key_lookup (hash, owner, key_id) VALUES ('h', ?, 'k')", (GONE,))
    try:
        found = told(stack)
        for word in (f"tenants/{GONE}", f"auth.key_lookup: 1 of {GONE}", "secrets: data_keys in", stray.name):
            assert word in found, (word, found)
    finally:
        stray.unlink()
        shutil.rmtree(folder)
        with closing(sqlite3.connect(stack.data / "tenants" / "_system" / "auth.db")) as system, system:
            system.execute("DELETE FROM key_lookup WHERE owner = ?", (GONE,))
    assert GONE not in told(stack)


@pytest.mark.covers("life:legacy-anonymous")
def test_whether_earlier_clients_come_in_without_a_credential_is_kept_and_shown(stack: Stack, tenant: Tenant) -> None:
    assert stack.cli_json("tenant", "show", tenant.name)["legacy_anonymous"] is False
    both = stack.cli_json("tenant", "set", tenant.name, "legacy_anonymous=true", "calls_per_minute=777")
    assert (both["legacy_anonymous"], both["limits"]["calls_per_minute"]["limit"]) == (True, 777)
    assert stack.cli_json("tenant", "show", tenant.name)["legacy_anonymous"] is True
    assert next(one for one in stack.operator("GET", "tenants").json()["tenants"] if one["id"] == tenant.name)[
        "legacy_anonymous"
    ]
    kept = stack.cli_json("tenant", "set", tenant.name, "calls_per_minute=default")
    assert kept["legacy_anonymous"] is True
    for wrong in ("legacy_anonymous=yes", "legacy_anonymous=1"):
        refused = stack.cli("tenant", "set", tenant.name, wrong, check=False)
        assert (refused.returncode, "true or false" in refused.stderr) == (1, True), refused.stderr
    own = stack.operator("PATCH", f"tenants/{tenant.name}", json={"legacy_anonymous": "perhaps"})
    assert own.status_code in {400, 422}, own.text
    mine = tenant.client.patch(f"{stack.url}/api/v2/tenants/{tenant.name}", json={"legacy_anonymous": False})
    assert mine.status_code in {401, 403, 404}
    assert stack.cli_json("tenant", "set", tenant.name, "legacy_anonymous=")["legacy_anonymous"] is False
