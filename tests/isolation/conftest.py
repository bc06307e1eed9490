"""What several tests of isolation share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from walls import UNFILTERED, OnPostgres, on_postgres


@pytest.fixture(scope="session")
def unfiltered(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnPostgres]:
    """The stack without the application's filter, which only a folder of the tests' can take out."""
    folder = tmp_path_factory.mktemp("unfiltered")
    with on_postgres(postgres_server, folder, PYTHONPATH=str(UNFILTERED)) as found:
        yield found
