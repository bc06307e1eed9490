"""Fixtures of the running stack: one a test session, and a tenant of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stack import Stack, Tenant, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that the session's tests share."""
    with running(tmp_path_factory.mktemp("stack") / "data") as started:
        yield started


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """A tenant that nobody else uses."""
    return stack.tenant()
