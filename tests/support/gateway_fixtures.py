"""A loopback gateway in a process of its own, for those who call one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FAKE = Path(__file__).parents[1] / "fakes" / "gateway.py"


@pytest.fixture(scope="module")
def gateway_url() -> Iterator[str]:
    """The URL of a gateway that a module's tests share."""
    process = subprocess.Popen([sys.executable, str(FAKE)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()
