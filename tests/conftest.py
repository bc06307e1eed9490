"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from benchmarks._postgres import database, postgres


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop that asynchronous tests run on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL of the session's own, as its superuser's URL; the session waits for its end.

    One that serves many short sessions is named by `TAUSESTACK_TEST_POSTGRES` (tools/mutation.py).
    """
    if shared := os.environ.get("TAUSESTACK_TEST_POSTGRES"):
        yield shared
        return
    # What survives its machine's end no test asks: each database that is made and dropped would wait for the disk.
    with postgres(fsync="off") as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty database that belongs to an owner who is no superuser."""
    with database(postgres_server) as url:
        yield url
