"""A tenant's client, against a loopback gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tausestack.client import Client, connect


@pytest.fixture
async def acme(gateway_url: str) -> AsyncIterator[Client]:
    async with connect("acme", "tsk_acme", gateway_url) as client:
        yield client
