"""The server half of the official conformance suite: no door of the gateway shows it another server than direct."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def direct() -> dict[str, Findings]:
    """What the suite found without a gateway, by leg."""
    return {}


@pytest.mark.timeout(300)
@pytest.mark.covers("conformance:server")
@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("door", ["direct", "own", "merged"])
def test_the_suite_finds_the_fixture_at_every_door(
    door: str, leg: str, doors: dict[str, str], direct: dict[str, Findings], tmp_path: Path
) -> None:
    checks, suite, options = LEGS[leg]
    if leg not in direct:
        direct[leg] = harness.run_server(doors["direct"], tmp_path, *options, suite=suite)
    found = direct[leg] if door == "direct" else harness.run_server(doors[door], tmp_path, *options, suite=suite)
    assert found.worse_than(direct[leg]) == []
    assert found.passed, found.verdict
    assert found.total == checks
