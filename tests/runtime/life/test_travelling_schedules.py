"""A schedule that moves ticks where it arrives, once a tick, without anybody calling the agents there first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from archives import PASSPHRASE, changed
from remotes import eventually
from stack import Stack, Tenant, running

DAILY = {"name": "daily", "agent": "concierge", "input": "Guarda 1 en la clave tick", "cron": "0 9 * * *"}


def missed(hours: float) -> Any:
    """Return what makes an archive's schedule one whose tick was missed by so long while it was on its way."""
    tick = datetime.now(UTC) - timedelta(hours=hours)

    def change(_: dict[str, Any], parts: dict[tuple[int, str], list[bytes]]) -> None:
        rows = [orjson.loads(line) for line in parts[0, "agents"]]
        for row in rows:
            if row.get("table") == "schedules":
                row["row"]["next_at"] = tick.isoformat()
            elif row.get("system") == "timers":
                row["row"]["due"] = tick.timestamp()
        parts[0, "agents"] = [orjson.dumps(row) for row in rows]

    return change


@pytest.mark.covers("life:moved-schedules")
@pytest.mark.timeout(200)
def test_a_schedule_ticks_once_where_its_tenant_arrives(stack: Stack, tenant: Tenant, tmp_path: Path) -> None:
    saved = tenant.client.post("/schedules", json=DAILY)
    assert saved.status_code in {200, 201}, saved.text
    file = tmp_path / "left.tar"
    stack.cli("tenant", "export", tenant.name, str(file), TAUSESTACK_PASSPHRASE=PASSPHRASE)
    late = changed(file, tmp_path / "late.tar", missed(hours=30))
    with running(tmp_path / "there") as there:
        assert there.services()["agents"]["pid"] is None
        there.cli("tenant", "import", str(late), TAUSESTACK_PASSPHRASE=PASSPHRASE)
        eventually(lambda: there.services()["agents"]["pid"])
        arrived = Tenant(tenant.name, tenant.key, there.url)
        after = eventually(lambda: (one := arrived.client.get("/schedules/daily").json())["last_at"] and one)
        assert after["last_error"] is None, after
        assert datetime.fromisoformat(after["next_at"]) > datetime.now(UTC)
        ended = eventually(lambda: _ended(arrived, after["last_run"]))
        assert ended["status"] == "success", ended
        assert arrived.must("storage/get_json", {"key": "tick"})["value"] == 1
        (run,) = arrived.client.get("/runs").json()["runs"]
        assert run["id"] == after["last_run"]


def _ended(tenant: Tenant, run: str) -> dict[str, Any] | None:
    found = tenant.client.get(f"/runs/{run}").json()
    return found if found["status"] not in {"pending", "running"} else None
