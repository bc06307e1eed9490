"""The client half of the official conformance suite, against our SDK's way to any MCP server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import forked
import harness

CLIENT = Path(__file__).with_name("client.py")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command that the suite starts for each scenario."""
    path = tmp_path_factory.mktemp("client") / "socket"
    support = str(Path(forked.__file__).parent)
    serving = subprocess.Popen(
        [sys.executable, CLIENT, path], env={"PYTHONPATH": support}, stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout is not None
    assert serving.stdout.readline() == "ready\n"
    yield f"{sys.executable} -I -S {forked.__file__} {path}"
    serving.terminate()
    serving.wait(60)
    serving.stdout.close()


@pytest.mark.timeout(300)
@pytest.mark.covers("conformance:client")
@pytest.mark.parametrize(("version", "checks"), [("2025-11-25", 247), ("2026-07-28", 405)])
def test_our_sdk_passes_the_client_suite(version: str, checks: int, command: str, tmp_path: Path) -> None:
    found = harness.run_client(command, tmp_path, "--suite", "all", "--spec-version", version)
    assert found.passed, found.verdict
    assert found.total == checks
