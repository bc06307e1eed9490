"""The official conformance suite, in its two versions: runs it, and reads check by check what it found."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import peers

SUITE = peers.NODE_MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
SUITE_2025 = peers.NODE_MODULES / "conformance-2025" / "dist" / "index.js"
EXPECTED = peers.ROOT / "tests" / "conformance" / "expected-failures.yml"
TIMEOUT_MS = 90_000
"""For one client scenario: they all run at once, each in a process of its own."""

_FOLDER = re.compile(r"^(?:server-)?(?P<scenario>.+?)-\d{4}-\d\d-\d\dT[\d-]+Z$")


@dataclass
class Findings:
    """What a run found: each check by scenario and id with its verdicts, how the suite itself judged, what it said."""

    checks: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    passed: bool = True
    said: str = ""

    @property
    def total(self) -> int:
        """How many checks gave a verdict."""
        return sum(number for (_, _, verdict), number in self.checks.items() if verdict in {"SUCCESS", "FAILURE"})

    @property
    def failures(self) -> Counter[tuple[str, str]]:
        """The failed checks by scenario and id."""
        failed = Counter[tuple[str, str]]()
        for (scenario, check, verdict), number in self.checks.items():
            if verdict == "FAILURE":
                failed[scenario, check] += number
        return failed

    @property
    def verdict(self) -> str:
        """What a failed assertion should show: the failed checks, and how the suite summed up."""
        failed = "\n".join(f"{scenario}: {check}" for scenario, check in sorted(self.failures))
        return f"{failed}\n{self.said}"

    def worse_than(self, direct: Findings) -> list[str]:
        """Return what fails here and passes direct, and each scenario with another number of checks."""
        new = [f"{scenario}: {check} fails" for scenario, check in sorted(self.failures - direct.failures)]
        there, here = direct.by_scenario(), self.by_scenario()
        return new + [
            f"{scenario}: {here[scenario]} checks, direct {there[scenario]}"
            for scenario in sorted(there | here)
            if here[scenario] != there[scenario]
        ]

    def by_scenario(self) -> Counter[str]:
        """Return how many checks of each scenario gave a verdict."""
        numbers = Counter[str]()
        for (scenario, _, verdict), number in self.checks.items():
            if verdict in {"SUCCESS", "FAILURE"}:
                numbers[scenario] += number
        return numbers


def run_server(url: str, folder: Path, *options: str, suite: Path = SUITE) -> Findings:
    """Run server scenarios against a URL; fails are judged by the list of expected ones."""
    return _run(suite, "server", "--url", url, "--expected-failures", str(EXPECTED), *options, folder=folder)


def run_client(command: str, folder: Path, *options: str) -> Findings:
    """Run client scenarios; `command` is started for each with the URL of a server that it is to meet."""
    told = ("client", "--command", command, "--timeout", str(TIMEOUT_MS), "--expected-failures", str(EXPECTED))
    return _run(SUITE, *told, *options, folder=folder)


def _run(suite: Path, *arguments: str, folder: Path) -> Findings:
    shutil.rmtree(folder, ignore_errors=True)
    done: subprocess.CompletedProcess[str] = peers.run(
        peers.NODE, suite, *arguments, "--output-dir", str(folder), seconds=300
    )
    found = Findings(passed=done.returncode == 0, said=done.stdout[-3000:])
    for path in folder.rglob("checks.json"):
        named = _FOLDER.match(str(path.parent.relative_to(folder)))
        assert named is not None, path
        for check in json.loads(path.read_text()):
            found.checks[named["scenario"], check["id"], check["status"]] += 1
    return found
