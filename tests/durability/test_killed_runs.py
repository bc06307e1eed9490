"""`kill -9` of the process that works on runs: none is lost, nothing completed is done again, doubt is never silent."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crashing import ENDED, Crowd, Nursery, World, eventually, world
from tausestack_agents.failpoints import PLACES

SOAK_KILLS = 500
SECONDS_A_ROUND = 0.5
"""How long a process lives at most while it is to die at a random moment."""
SECONDS_A_PLACE = 20.0
"""How long it may take to come to a place."""
AT_STOPS = ("checkpoint", "writes")
"""Places that a run comes to only where it stops, as for a decision on a call in doubt."""
ONCE_A_RUN = ("accept", "plan")
QUICK = (
    "plan.after",
    "intent.after",
    "call.after",
    "result.before",
    "checkpoint.after",
    "end.within",
    "decide.between",
)
TRIES = 4
"""So many processes may miss a place: that it is come to depends on what others left."""


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    with closing(Nursery()) as found:
        yield found


@pytest.mark.covers("durability:runs")
@pytest.mark.timeout(400)
def test_runs_go_on_after_kills_at_named_places(nursery: Nursery, tmp_path: Path) -> None:
    with world(nursery, tmp_path) as here:
        killed_at(here, QUICK)
        nothing_is_lost_or_repeated(here)
        assert set(here.reached) == set(QUICK)


@pytest.mark.covers("durability:runs")
@pytest.mark.timeout(400)
def test_runs_go_on_after_kills_on_postgresql(nursery: Nursery, tmp_path: Path, postgres_url: str) -> None:
    with world(nursery, tmp_path, postgres_url) as here:
        killed_at(here, ("call.after", "checkpoint.within"))
        nothing_is_lost_or_repeated(here)


@pytest.mark.soak
@pytest.mark.covers("durability:runs-soak")
@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgresql"])
def test_five_hundred_kills_on_each_database_lose_and_repeat_nothing(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if postgres else None
    with world(nursery, tmp_path, url) as here:
        rounds = 0
        while here.kills < SOAK_KILLS:
            killed_at(here, PLACES, seed=rounds)
            killed_anywhere(here, len(PLACES), seed=rounds)
            rounds += 1
        found = nothing_is_lost_or_repeated(here)
        print(f"\n{here.kills} kills, {len(here.accepted)} runs, {found}; {here.resumed()}")
        assert set(here.reached) == set(PLACES)


def killed_at(here: World, places: tuple[str, ...], seed: int = 0) -> None:
    """Let a process die at each place, and the next one take up what it left."""
    crowd = Crowd(here, seed)
    dice = random.Random(seed)
    for place in places:
        decided, stops = place.startswith("decide"), place.startswith(AT_STOPS)
        for _ in range(TRIES):
            if decided or stops:  # a decision is asked for where a process died in the call that keeps no key
                here.arm("call.after", of="post")
                lived(here, crowd, SECONDS_A_PLACE, runs=1)
            here.arm(place, skip=0 if decided or stops or place.startswith(ONCE_A_RUN) else dice.randrange(3))
            lived(here, crowd, SECONDS_A_PLACE, runs=2, until_asked=decided)
            if not here.failpoint.exists():
                here.reached[place] += 1
                break


def killed_anywhere(here: World, kills: int, seed: int = 0) -> None:
    """Kill a process at random moments, and now and then the gateway with it."""
    crowd = Crowd(here, seed)
    dice = random.Random(seed)
    for number in range(kills):
        if number % 5 == 4:
            here.door.kill()
            here.door.start()
        lived(here, crowd, dice.uniform(0.02, SECONDS_A_ROUND), runs=1)


def lived(here: World, crowd: Crowd, seconds: float, *, runs: int, until_asked: bool = False) -> None:
    """Start a process, ask it for runs, and see it die; `until_asked` by a run is decided before it does."""
    process = here.start()
    asking = threading.Thread(target=crowd.ask, args=(process, runs), kwargs={"until_asked": until_asked})
    asking.start()
    process.die(seconds)
    asking.join()


def nothing_is_lost_or_repeated(here: World) -> str:
    """Let all runs come to their end, and compare what was journaled with what took effect."""
    crowd = Crowd(here, 0)
    process = here.start()
    eventually(process.serves)
    crowd.ask(process, 1)

    def ended() -> list[dict[str, Any]] | None:
        crowd.ask(process, 0)
        found = [process.call("get_run", {"run": run}) for run in here.accepted.values()]
        return found if all(run["status"] in ENDED for run in found) else None

    runs = eventually(ended, 120)
    process.die(0)
    assert set(here.asked) == set(here.accepted)
    assert {run["status"] for run in runs} == {"success"}
    arrivals, effects = here.door.rows("arrivals"), here.door.rows("effects")
    doubted = 0
    for run in runs:
        doubted += check(run, [row for row in effects if row[1] == run["id"]], here.repeated[run["id"]])
    late = [row for row in arrivals if row[4] > ended_at(runs, row)]
    assert late == []
    return f"{len(arrivals)} calls came in, {doubted} runs were asked about a call in doubt"


def check(run: dict[str, Any], effects: list[Any], repeated: int) -> int:
    """Compare a run's steps with what took effect; return 1 where a person was asked."""
    counted = Counter((row[0], json.dumps(json.loads(row[3]))) for row in effects)
    assert len(run["steps"]) == 4, run
    for step in run["steps"]:
        effect = counted[f"{step['server']}/{step['tool']}", json.dumps(step["arguments"])]
        if step["server"] == "ledger":
            assert (step["status"], effect) == ("done", 1), (run, effects)
        elif step["server"] == "post":
            assert effect <= 1 + repeated, (run, effects)
            assert effect >= (step["status"] == "done"), (run, effects)
            assert step["status"] in {"done", "rejected"}, run
    return int(repeated > 0 or any(step["status"] == "rejected" for step in run["steps"]))


def ended_at(runs: list[dict[str, Any]], row: Any) -> float:
    """Return when the run of an arrival ended: nothing comes in afterwards."""
    run = next(run for run in runs if run["id"] == row[1])
    return datetime.fromisoformat(run["ended_at"]).timestamp()
