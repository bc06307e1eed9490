"""A loopback gateway in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tausestack.client import Client, connect

FAKE = Path(__file__).parents[2] / "fakes" / "gateway.py"


@pytest.fixture(scope="module")
def gateway_url() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(FAKE)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
async def acme(gateway_url: str) -> AsyncIterator[Client]:
    async with connect("acme", "tsk_acme", gateway_url) as client:
        yield client
