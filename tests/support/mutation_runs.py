"""For `make mutation`: what fails fails for the mutant's sake, and what is cheap is asked first."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "mutation",
    deadline=None,  # a busy machine kills no mutant
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that need PostgreSQL last: most mutants die before a database is made."""
    items.sort(key=lambda item: "postgres" in getattr(item, "fixturenames", ()) or "[postgres" in item.nodeid)
