"""A tenant's database file is opened by the one service that it belongs to, and by no other process of the stack."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from stack import Stack, Tenant
from tausestack_runtime.supervisor.linux import descendants


def open_files(stack: Stack) -> dict[Path, set[int]]:
    """Return the files below the data folder that are open or mapped, each with the processes that have it."""
    found = defaultdict[Path, set[int]](set)
    for pid in [stack.process.pid, *descendants(stack.process.pid)]:
        try:
            links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
            maps = [line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        for name in (*links, *maps):
            path = Path(name.removesuffix(" (deleted)"))
            if path.is_relative_to(stack.data):
                found[path.relative_to(stack.data)].add(pid)
    return found


def names(stack: Stack) -> dict[int, str]:
    """Return what each process of the stack is that may have a tenant's file."""
    services: list[dict[str, Any]] = stack.operator("GET", "doctor").json()["services"]
    gateways = [pid for pid in descendants(stack.process.pid) if b"tausestack_runtime.gateway" in _command(pid)]
    return {one["pid"]: one["name"] for one in services if one["pid"]} | dict.fromkeys(gateways, "gateway")


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.covers("isolation:files-opened-by-their-own")
def test_only_its_own_service_has_a_tenants_file_open(stack: Stack) -> None:
    tenants = [stack.tenant() for _ in range(2)]
    for tenant in tenants:
        work(tenant)
    by, seen = names(stack), defaultdict[str, set[str]](set)
    for path, pids in open_files(stack).items():
        if path.parts[0] != "tenants" or path.name.partition(".")[2].partition("-")[0] != "db":
            continue
        owner = path.name.partition(".")[0].removesuffix("-checkpoints")
        for pid in pids:
            assert by.get(pid) == owner, (path, pid)
        seen[path.parts[1]].add(owner)
    for tenant in tenants:
        assert seen[tenant.name] >= {"billing", "gateway", "registry", "storage"}


@pytest.mark.covers("isolation:files-opened-by-their-own")
def test_a_tenants_files_are_their_owners_alone(stack: Stack) -> None:
    tenant = stack.tenant()
    work(tenant)
    folder = stack.data / "tenants" / tenant.name
    kept = [folder, *folder.rglob("*")]
    assert len(kept) > 3
    assert {
        str(path.relative_to(folder)): oct(path.stat().st_mode & 0o077) for path in kept if path.stat().st_mode & 0o077
    } == {}


def work(tenant: Tenant) -> None:
    tenant.must("storage/put_json", {"key": "k", "value": 1})
    tenant.must("billing/list_plans", {})
    tenant.must("billing/record_usage", {"metric": "m", "quantity": 1})
    tenant.must("auth/whoami", {})
    assert tenant.client.get("/servers").status_code == 200
    assert tenant.client.get("/approvals").status_code == 200
    assert tenant.client.get("/limits").status_code == 200
