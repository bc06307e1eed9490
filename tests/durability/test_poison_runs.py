"""Own code that ends its process ends its own run, and no other: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crashing import ENDED, Gone, Nursery, Process, Refused, World, await_serving, eventually, request, world
from tausestack_agents.apart.rooms import IDLE

SOAK_KILLS = 200
MODULES = {"TAUSESTACK_AGENT_MODULES": "poison_agents"}
ENDS = {
    "segfault": "SIGSEGV",
    "abort": "SIGABRT",
    "kill": "SIGKILL",
    "kill the group": "SIGKILL",
    "exit": "exit code 0",
}
HERE = ("segfault", "kill the group", "exit")
DATABASES = pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgresql"])


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    with closing(Nursery()) as found:
        yield found


def serving(here: World, **environ: str) -> Process:
    process = here.start(**MODULES, **environ)
    assert await_serving(process)
    return process


def begun(process: Process, agent: str, asked: str) -> str:
    return process.call("run", {"agent": agent, "input": asked, "wait": 0})["id"]


def ended(process: Process, run: str, seconds: float = 60) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        shown = process.call("get_run", {"run": run, "wait": 20})
        return shown if shown["status"] in ENDED else None

    return eventually(found, seconds)


def apart(process: Process) -> list[int]:
    """Return the processes that the agents' process has own code run in."""
    return [child for server in servers(process) for child in children(server)]


def servers(process: Process) -> list[int]:
    """Return the fork servers of those processes."""
    return [child for first in children(process.pid) for child in children(first)]


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


@DATABASES
@pytest.mark.covers("durability:poison-runs")
@pytest.mark.timeout(240)
def test_runs_that_end_their_process_are_ended_after_three_times_and_no_other_run_hears_of_it(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if postgres else None
    with world(nursery, tmp_path, url, milliseconds=20) as here:
        process = serving(here)
        poisoned = {how: begun(process, "poison", how) for how in (["kill"] if postgres else HERE)}
        others = [begun(process, "gentle", f"g-{number}") for number in range(2)]
        others += [begun(process, "concierge", asked_for(f"{number}")) for number in range(2)]
        for run in others:
            found = ended(process, run)
            assert found["status"] == "success", found
        for how, run in poisoned.items():
            found = ended(process, run)
            assert (found["status"], found["error"]["code"]) == ("error", "agent_crashed"), found
            assert (found["error"]["agent"], found["error"]["deaths"]) == ("poison", 3)
            assert ENDS[how] in found["error"]["message"], found
            assert [step["status"] for step in found["steps"]] == ["done"]
        taken_up = [run for address, run, *_ in here.door.rows("arrivals") if address == "platform/delegate"]
        assert [taken_up.count(run) for run in others] == [1] * len(others)
        assert process.stop() == 0


@pytest.mark.covers("durability:poison-blocks")
@pytest.mark.timeout(120)
def test_own_code_that_holds_its_process_up_ends_as_too_late_or_when_it_is_cancelled_and_slows_nobody(
    nursery: Nursery, tmp_path: Path
) -> None:
    with world(nursery, tmp_path) as here:
        process = serving(here)
        late, stopped = begun(process, "hasty", "block"), begun(process, "poison", "block")
        eventually(lambda: stopped in {row[1] for row in here.door.rows("effects")})
        for agent in ("gentle", "concierge"):
            asked = asked_for("a") if agent == "concierge" else "a"
            assert ended(process, begun(process, agent, asked))["status"] == "success"
        assert process.call("get_run", {"run": stopped})["status"] == "running"
        assert process.call("cancel", {"run": stopped})["status"] == "cancelled"
        found = ended(process, late)
        assert (found["error"]["code"], found["error"]["budget"]) == ("budget_exceeded", "seconds"), found
        eventually(lambda: len(apart(process)) <= IDLE)


@pytest.mark.covers("durability:poison-innocent")
@pytest.mark.timeout(240)
def test_whoever_kills_processes_of_own_code_from_outside_ends_no_run(nursery: Nursery, tmp_path: Path) -> None:
    with world(nursery, tmp_path, milliseconds=30) as here:
        process = serving(here)
        run = begun(process, "gentle", "g")

        def effects() -> int:
            return len([row for row in here.door.rows("effects") if row[1] == run])

        for number in range(1, 5):  # more often than a run may die where it stands, but it comes further each time
            eventually(lambda number=number: effects() >= number)
            for pid in apart(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in [
            *children(process.pid),
            *servers(process),
            *apart(process),
        ]:  # as whoever stops a service tells all of its processes
            os.kill(pid, signal.SIGTERM)
        for number in range(5, 9):  # and the process that would count it dies as well
            eventually(lambda number=number: effects() >= number)
            process.die(0)
            process = serving(here)
        found = ended(process, run)
        assert (found["status"], effects()) == ("success", 8), found
        assert len({row[2] for row in here.door.rows("effects")}) == 8


@pytest.mark.covers("durability:poison-replayed")
@pytest.mark.timeout(120)
def test_own_code_apart_waits_for_people_and_is_replayed_like_any(nursery: Nursery, tmp_path: Path) -> None:
    with world(nursery, tmp_path) as here:
        process = serving(here)
        run = process.call("run", {"agent": "held", "input": "h", "wait": 30})
        decided = 0
        while run["status"] == "interrupted":
            decided += 1
            run = process.call("resume", {"run": run["id"], "decision": {"approve": True}, "wait": 30})
        assert (run["status"], decided) == ("success", 8), run
        assert process.call("replay", {"run": run["id"]})["complete"]
        front = {"name": "front", "instructions": "Hand over.", "handoffs": ["gentle"], "tools": ["clinic/*"]}
        process.call("save_agent", {"spec": front})
        handed = ended(process, begun(process, "front", asked_for("x")))
        assert (handed["status"], len(handed["steps"])) == ("success", 8), handed
        poisoned = ended(process, begun(process, "poison", "abort"))
        with pytest.raises(Refused, match="SIGABRT"):
            process.call("replay", {"run": poisoned["id"]})
        assert process.serves()
        assert len(apart(process)) <= IDLE


@pytest.mark.soak
@pytest.mark.covers("durability:poison-innocent-soak")
@DATABASES
@pytest.mark.timeout(1800)
def test_two_hundred_kills_lose_and_repeat_nothing_of_own_code(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if postgres else None
    dice = random.Random(7)
    with world(nursery, tmp_path, url, milliseconds=20) as here:
        runs: list[str] = []
        for number in range(SOAK_KILLS):
            process = serving(here)
            with contextlib.suppress(Gone):
                runs += [begun(process, "gentle", f"g-{number}")]
            process.die(dice.uniform(0.02, 0.5))
        process = serving(here)
        for run in runs:
            found = ended(process, run, 600)  # all of them wait for the last process
            assert (found["status"], len(found["steps"])) == ("success", 8), found
        effects = [row for row in here.door.rows("effects") if row[1] in runs]
        assert len(effects) == len({row[2] for row in effects}) == 8 * len(runs)
        print(f"\n{here.kills} kills, {len(runs)} runs of own code")


def asked_for(name: str) -> str:
    return request(name).partition("Then send")[0]
