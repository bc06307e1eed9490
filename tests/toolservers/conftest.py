"""What the services' tests share: an in-memory stack of a module's `server`, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tausestack import testing


@pytest.fixture(params=["sqlite", "postgresql"])
async def stack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[testing.Stack]:
    """The stack of the test module's `server`, once on each database."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    async with testing.stack(request.module.server, data=tmp_path, database_url=url) as stack:
        yield stack
