"""A worker that was frozen past its lease commits nothing; one on another machine that died is taken over."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import tuple_row

from crashing import ENDED, Nursery, Process, World, await_serving, eventually, request, world

LEASE_SECONDS = 2
CALL_MILLISECONDS = 300
PLACES = (
    "model.before",
    "intent.before",
    "call.before",
    "result.before",
    "checkpoint.before",
    "writes.before",
    "end.before",
)
TABLES = """
SELECT table_schema || '.' || table_name FROM information_schema.tables
WHERE table_schema LIKE 'tausestack_agents%' AND table_name NOT IN ('alembic_version', 'checkpoint_migrations')
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    with closing(Nursery()) as found:
        yield found


@pytest.mark.covers("durability:frozen")
@pytest.mark.timeout(400)
def test_a_worker_that_was_frozen_past_its_lease_commits_nothing_once_thawed(nursery: Nursery, tmp_path: Path) -> None:
    nothing_is_committed(nursery, tmp_path, None, ("checkpoint.before",))


@pytest.mark.soak
@pytest.mark.covers("durability:frozen-soak")
@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgresql"])
def test_workers_that_were_frozen_at_each_place_commit_nothing_once_thawed(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    nothing_is_committed(nursery, tmp_path, request.getfixturevalue("postgres_url") if postgres else None, PLACES)


def nothing_is_committed(nursery: Nursery, folder: Path, url: str | None, places: tuple[str, ...]) -> None:
    """Freeze a worker at each place, let another do its work, and compare the databases before and after the thaw."""
    with world(nursery, folder, url, milliseconds=CALL_MILLISECONDS) as here:
        frozen = [freeze(here, place) for place in places]
        last = started(here, "last")
        runs = [ended(last, run) for run in here.accepted.values()]
        kept = everything(here)
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)
        last.die(0)
        for process in frozen:
            assert process.stop() == 0  # by then it has let go of all that it held
        assert everything(here) == kept
        # A call may have been on its way already: then its run waits for a person, or its key keeps it from counting.
        effects = Counter((address, arguments) for address, _, _, arguments, _ in here.door.rows("effects"))
        assert {effect: times for effect, times in effects.items() if times > 1} == {}
    assert {run["status"] for run in runs} <= {"success", "interrupted"}


@pytest.mark.covers("durability:frozen-alone")
@pytest.mark.timeout(400)
def test_a_run_whose_only_worker_was_frozen_past_its_lease_is_taken_up_again(nursery: Nursery, tmp_path: Path) -> None:
    with world(nursery, tmp_path, None, milliseconds=CALL_MILLISECONDS) as here:
        process = started(here, "alone")
        here.arm("call.before", signal.SIGSTOP)  # the first thing after the thaw is to see that the lease is over
        run = process.call("run", {"agent": "concierge", "input": request("1"), "wait": 0}, "k1")["id"]
        stopped(process)
        thaw = time.monotonic() + LEASE_SECONDS * 1.2
        eventually(lambda: time.monotonic() > thaw)
        os.kill(process.pid, signal.SIGCONT)
        assert ended(process, run)["status"] in {"success", "interrupted"}
        assert process.stop() == 0


@pytest.mark.covers("durability:other-machine")
@pytest.mark.timeout(400)
def test_a_worker_that_died_on_another_machine_is_taken_over_once_its_lease_is_over(
    nursery: Nursery, tmp_path: Path, postgres_url: str
) -> None:
    with world(nursery, tmp_path, postgres_url) as here:
        there = started(here, "there", TAUSESTACK_MACHINE="there")
        here.arm("result.before", signal.SIGSTOP)
        run = there.call("run", {"agent": "concierge", "input": request("1"), "wait": 0}, "k1")["id"]
        stopped(there)
        waiting = started(here, "here", TAUSESTACK_MACHINE="here")
        there.die(0)
        died = time.monotonic()
        shown = ended(waiting, run)
        print(
            f"taken over and ended {time.monotonic() - died:.2f} s after its death, with a lease of {LEASE_SECONDS} s"
        )
        waiting.die(0)
    assert shown["status"] == "success"
    assert [step["status"] for step in shown["steps"]] == ["done"] * 4


def started(here: World, name: str, **environ: str) -> Process:
    """Start a process that serves."""
    process = here.start(name, TAUSESTACK_LEASE_SECONDS=str(LEASE_SECONDS), **environ)
    assert await_serving(process)
    return process


def freeze(here: World, place: str) -> Process:
    """Start a process, give it a run, and have it frozen at a place."""
    process = started(here, place)
    key = f"k-{place}"
    # It stops, and only there it is checkpointed, where it waits for a person.
    asked = request(place) + (" Let me talk to a person." if place.startswith(("checkpoint", "writes")) else "")
    here.accepted[key] = process.call("run", {"agent": "concierge", "input": asked, "wait": 0}, key)["id"]
    here.arm(place, signal.SIGSTOP)  # once it is accepted: its calls take a while
    stopped(process)
    assert not here.failpoint.exists()
    return process


def stopped(process: Process) -> None:
    """Wait until a process is stopped."""
    stat = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")


def ended(process: Process, run: str) -> dict[str, Any]:
    """Wait until a run has ended, or waits for a person."""

    def shown() -> dict[str, Any] | None:
        found = process.call("get_run", {"run": run})
        return found if found["status"] in {*ENDED, "interrupted"} else None

    return eventually(shown)


def everything(here: World) -> str:
    """Return all that the databases hold of runs and their checkpoints."""
    rows: dict[str, list[Any]] = {}
    if here.database_url is None:
        for file in sorted((here.folder / "data" / "tenants" / "acme").glob("*.db")):
            with closing(sqlite3.connect(file)) as connection:
                names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                for name in sorted(names):
                    rows[f"{file.name} {name}"] = sorted(map(repr, connection.execute(f"SELECT * FROM {name}")))
    else:
        with psycopg.connect(here.database_url, row_factory=tuple_row) as connection:
            connection.execute("SELECT set_config('app.tenant', 'acme', true)")
            for (name,) in connection.execute(TABLES).fetchall():
                rows[name] = sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))
    return json.dumps(rows, indent=1)
