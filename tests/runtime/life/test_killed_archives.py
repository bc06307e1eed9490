"""Exports, imports, backups and restores that are killed: nothing half stands."""

from __future__ import annotations

import json
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from benchmarks._postgres import database

from archives import PASSPHRASE, Installation, manifest, written
from remotes import eventually
from stack import Stack, Tenant, running
from tausestack_runtime.life.here import Here
from tausestack_runtime.schemas import schemas

NAME = "mover"
OVER_SECONDS = 60.0


def archive_of(path: Path, documents: int, size: int = 200, tenants: int = 0) -> Path:
    """Write an archive of a tenant with many documents, or a backup of many such tenants."""
    parts = {one.service: {"revision": one.head} for one in schemas()}
    at = "2026-11-26T00:00:00+00:00"
    names = [NAME] if not tenants else ["_system", *(f"{NAME}-{number}" for number in range(tenants))]
    told: list[dict[str, Any]] = [
        {
            "id": name,
            "name": name,
            "plan": "basic",
            "status": "active",
            "created_at": at,
            "settings": {},
            "parts": parts,
        }
        for name in names
    ]

    def lines(seed: int) -> list[bytes]:
        chance = random.Random(seed)
        rows = (
            {"key": f"k{number}", "body": f'"{chance.randbytes(size).hex()}"', "created_at": at, "updated_at": at}
            for number in range(documents)
        )
        return [orjson.dumps({"table": "documents", "row": row}) for row in rows]

    held = {(number, "storage"): lines(number) for number, name in enumerate(names) if name != "_system"}
    return written(path, told, held, "installation" if tenants else "tenant")


def killed(place: Installation, at: Callable[[], bool], *arguments: str) -> bool:
    """Kill a command once something is so, and return whether that came before its end."""
    with place.running(*arguments) as process:
        while process.poll() is None and not at():
            select.select([], [], [], 0.002)
        process.kill()
        return process.wait(OVER_SECONDS) != 0


def after(seconds: float) -> Callable[[], bool]:
    """Return what is so after a while."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def statuses(place: Installation) -> dict[str, str]:
    """Return every tenant's status, as auth keeps it."""

    async def work(here: Here) -> dict[str, str]:
        return {one["id"]: one["status"] for one in await here.every_tenant()}

    return place.within(work)


def told(stack: Stack) -> str:
    """Return what doctor tells of leftovers: how fast the machine is, which it tells too, is no matter here."""
    found = json.loads(stack.cli("doctor", "--json", check=False).stdout)["checks"]
    return next(one["value"] for one in found if one["check"] == "left of deleted tenants")


def left(place: Installation, tenant: str) -> dict[str, Any]:
    """Return what is kept of a tenant."""
    return place.within(lambda here: here.left(tenant))


@pytest.mark.covers("life:export-whole")
def test_an_export_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    here = Installation(tmp_path / "here").founded()
    here.take(archive_of(tmp_path / "in.tar", 4000))
    out = tmp_path / "out"
    out.mkdir()
    lock = here.data / "life.lock"
    lock.unlink(missing_ok=True)
    assert killed(here, lock.exists, "tenant", "export", NAME, str(out / "tenant.tar"))
    assert list(out.iterdir()) == []
    here.cli("tenant", "export", NAME, str(out / "tenant.tar"))
    assert manifest(out / "tenant.tar")["tenants"][0]["parts"]["storage"]["records"] == 4000
    twice = here.cli("tenant", "export", NAME, str(out / "tenant.tar"), check=False)
    assert (twice.returncode, "is there already" in twice.stderr) == (1, True)


@pytest.mark.covers("life:what-to-do")
def test_a_passphrase_that_cant_be_had_is_told_of_with_what_to_do(tmp_path: Path) -> None:
    here = Installation(tmp_path / "here").founded()
    empty, odd, short = (tmp_path / name for name in ("empty", "odd", "short"))
    empty.write_bytes(b"\nsecond line\n")
    odd.write_bytes(b"\xff\xfe and so on\n")
    short.write_text("few\n")
    for path, why in ((tmp_path / "none", "No such file"), (empty, "its first line is empty"), (odd, "it is no text"),
                      (tmp_path, "Is a directory")):  # fmt: skip
        refused = here.cli("backup", str(tmp_path / "out"), "--passphrase-file", str(path), check=False)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
        assert why in refused.stderr
        assert "or '-' for the standard input" in refused.stderr
    refused = here.cli("backup", str(tmp_path / "out"), "--passphrase-file", str(short), check=False)
    assert "under 12 characters" in refused.stderr
    assert "longer" in refused.stderr
    here.cli("backup", str(tmp_path / "good"))
    wrong = here.cli("restore", str(tmp_path / "good"), check=False, TAUSESTACK_PASSPHRASE="another passphrase")
    assert wrong.returncode == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.covers("life:import-whole", "life:restore-whole")
def test_an_import_that_is_killed_is_erased_by_the_next_start(tmp_path: Path) -> None:
    file = archive_of(tmp_path / "in.tar", 4000)
    here = Installation(tmp_path / "here").founded()
    half = here.data / "tenants" / NAME
    assert killed(here, (half / ".arriving").exists, "tenant", "import", str(file))
    assert statuses(here) == {NAME: "importing"}
    none = here.cli("tenant", "export", NAME, str(tmp_path / "none.tar"), check=False)
    assert (none.returncode, "there is no tenant" in none.stderr) == (1, True)
    with running(here.data) as stack:
        eventually(lambda: stack.operator("GET", "tenants").json()["tenants"] == [])
        assert not half.exists()
        # It may be taken in again, beside the running stack, and a second one cut off and repeated at once.
        assert killed(here, (half / ".arriving").exists, "tenant", "import", str(file))
        assert f"{NAME} is importing" in told(stack)
        taken = stack.cli("tenant", "create", NAME, check=False)
        assert (taken.returncode, "'tausestack tenant import' again" in taken.stderr) == (1, True), taken.stderr
        here.cli("tenant", "import", str(file))
        made = Tenant(
            NAME, stack.operator("POST", f"tenants/{NAME}/keys", json={"role": "admin"}).json()["api_key"], stack.url
        )
        assert len(made.must("storage/get_json", {"key": "k3999"})["value"]) == 400
        assert told(stack) == "nothing"


@pytest.mark.covers("life:restore-whole")
def test_a_restore_that_is_killed_leaves_no_installation(tmp_path: Path) -> None:
    file = archive_of(tmp_path / "backup", 300, tenants=3)
    there = Installation(tmp_path / "there")
    last = there.data / ".restoring" / "tenants" / f"{NAME}-2"
    assert killed(there, last.exists, "restore", str(file))
    assert not (there.data / "tenants").exists()
    for command in (("up", "--port", "0"), ("tenant", "import", str(file))):
        refused = there.cli(*command, check=False)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
        assert "run 'tausestack restore' again, or empty the folder" in refused.stderr
    assert not (there.data / "tenants").exists()
    assert there.must("restore", str(file))["tenants"] == 3
    assert set(statuses(there).values()) == {"active"}
    assert not (there.data / ".restoring").exists()


@pytest.mark.covers("life:restore-whole")
def test_a_restore_that_is_refused_leaves_nothing_in_an_empty_folder(tmp_path: Path) -> None:
    file = archive_of(tmp_path / "backup", 1, tenants=1)
    short = tmp_path / "short"
    short.write_bytes(file.read_bytes()[:-2048])
    there = Installation(tmp_path / "there")
    for given, phrase in ((short, PASSPHRASE), (file, "another passphrase")):
        refused = there.cli("restore", str(given), check=False, TAUSESTACK_PASSPHRASE=phrase)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
        assert not there.data.exists()
    # One whose seal is good, and whose content is not, is refused later; no key stays that was made for it.
    odd = written(tmp_path / "odd", manifest(file)["tenants"][1:], {}, "installation")
    assert "no backup" in there.cli("restore", str(odd), check=False).stderr
    assert [one.name for one in there.data.iterdir()] == ["lock"]


@pytest.mark.soak
@pytest.mark.covers("life:restore-whole")
def test_a_restore_into_a_database_that_is_cut_off_at_its_very_end_is_run_again(
    tmp_path: Path, postgres_server: str
) -> None:
    file = archive_of(tmp_path / "backup", 1, tenants=1)
    with database(postgres_server) as url:
        there = Installation(tmp_path / "there", url)
        for folder in (there.data, there.data / "tenants", there.data / "tenants" / NAME, there.data / ".restoring"):
            folder.mkdir(mode=0o700)
        assert "was cut off" in there.cli("up", "--port", "0", check=False).stderr
        assert there.must("restore", str(file))["tenants"] == 1
        assert not (there.data / ".restoring").exists()
        assert not (there.data / "tenants" / NAME).exists()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.covers("life:import-whole", "life:export-whole", "life:restore-whole")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whenever_they_are_killed_nothing_half_stands(kind: str, tmp_path: Path, postgres_url: str) -> None:
    url = postgres_url if kind == "postgresql" else None
    chance = random.Random(31)
    file = archive_of(tmp_path / "in.tar", 6000)
    whole = archive_of(tmp_path / "whole", 1500, tenants=4)
    here = Installation(tmp_path / "here", url).founded()
    took = float(here.must("tenant", "import", str(file))["seconds"])
    gave = float(here.must("tenant", "export", NAME, str(tmp_path / "first.tar"))["seconds"])
    here.within(lambda opened: _gone(opened, NAME))
    cut = 0
    for number in range(25):
        cut += killed(here, after(chance.uniform(0.3, took + 3)), "tenant", "import", str(file))
        status = statuses(here).get(NAME)
        if status == "active":  # then all of it is there
            here.give(NAME, tmp_path / f"{number}.tar")
            assert manifest(tmp_path / f"{number}.tar")["tenants"][0]["parts"]["storage"]["records"] == 6000
            here.within(lambda opened: _gone(opened, NAME))
        elif number % 5 == 0:
            environment = {} if url is None else {"TAUSESTACK_DATABASE_URL": url}
            with running(here.data, **environment) as stack:
                eventually(lambda stack=stack: stack.operator("GET", "tenants").json()["tenants"] == [])
            assert left(here, NAME) == {}
        else:
            assert status in {"importing", None}
    here.take(file)
    for number in range(15):
        out = tmp_path / f"out-{number}.tar"
        cut += killed(here, after(chance.uniform(0.3, gave + 3)), "tenant", "export", NAME, str(out))
        assert not out.exists() or manifest(out)["tenants"][0]["parts"]["storage"]["records"] == 6000
    here.within(lambda opened: _gone(opened, NAME))
    for number in range(10):
        there = Installation(tmp_path / f"restored-{number}", url)
        cut += killed(there, after(chance.uniform(0.5, 12)), "restore", str(whole))
        if not (there.data / "tenants").exists():
            assert there.must("restore", str(whole))["tenants"] == 4
        assert set(statuses(there).values()) <= {"active", "importing"}
        for name in statuses(there):
            there.within(lambda opened, name=name: _gone(opened, name))
    assert cut > 20


async def _gone(here: Here, tenant: str) -> None:
    """Delete a tenant without a stack, as an import that was cut off is."""
    async with here.services["auth"].databases.transaction("_system") as db:
        await db.execute(sa.update(here.tenants).where(here.tenants.c.id == tenant).values(status="importing"))
    await here.erase(tenant)


MEGABYTES = 200


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.covers("life:moved-large")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_large_tenant_takes_no_more_memory_than_a_small_one(kind: str, tmp_path: Path, postgres_url: str) -> None:
    url = postgres_url if kind == "postgresql" else None
    sizes: dict[int, list[int]] = {}
    for megabytes in (1, MEGABYTES):
        place = Installation(tmp_path / str(megabytes), url).founded()
        file = archive_of(tmp_path / f"{megabytes}.tar", 10 * megabytes, 50_000)
        out = tmp_path / f"{megabytes}-out.tar"
        sizes[megabytes] = [
            peak(place, "tenant", "import", str(file)),
            peak(place, "tenant", "export", NAME, str(out)),
        ]
        assert manifest(out)["tenants"][0]["parts"]["storage"]["records"] == 10 * megabytes
        place.within(lambda opened: _gone(opened, NAME))
    print(f"peak resident bytes of import, export: {sizes}")
    for small, large in zip(*sizes.values(), strict=True):
        assert large < small + 64 * 1024 * 1024, sizes


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Run by a small process: what a child had before it became another program counts as its own."""


def peak(place: Installation, *arguments: str) -> int:
    """Run a command and return the most bytes that it had resident."""
    command, environment = place.command(*arguments)
    measured = [sys.executable, "-c", MEASURE, *command]
    done = subprocess.run(measured, env=environment, capture_output=True, text=True, check=True, timeout=900)
    return int(done.stdout) * 1024
