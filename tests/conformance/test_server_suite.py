"""The server half of the official conformance suite: no door of the gateway shows it another server than direct."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import harness
from harness import Findings


class Leg(NamedTuple):
    """One run of the suite, and how many checks the official reference server passes in it."""

    checks: int
    suite: Path
    options: tuple[str, ...]


LEGS = {
    "2025-11-25": Leg(84, harness.SUITE, ("--suite", "all", "--spec-version", "2025-11-25")),
    "2026-07-28": Leg(152, harness.SUITE, ("--suite", "all", "--spec-version", "2026-07-28")),
    "0.1.16": Leg(40, harness.SUITE_2025, ()),
    "extensions": Leg(234, harness.SUITE, ("--suite", "all")),
}


@pytest.mark.timeout(300)
@pytest.mark.covers("conformance:server")
@pytest.mark.parametrize("leg", LEGS)
def test_the_suite_finds_the_fixture_at_every_door(leg: str, doors: dict[str, str], tmp_path: Path) -> None:
    checks, suite, options = LEGS[leg]

    def found_at(door: str) -> Findings:
        return harness.run_server(doors[door], tmp_path / door, *options, suite=suite)

    with ThreadPoolExecutor() as at_once:  # what it waits for takes longer than what it does
        found = dict(zip(doors, at_once.map(found_at, doors), strict=True))
    for door, findings in found.items():
        assert findings.worse_than(found["direct"]) == [], door
        assert findings.passed, f"{door}: {findings.verdict}"
        assert findings.total == checks, door
