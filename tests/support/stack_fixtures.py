"""Fixtures of the running stack: one a test session, and a tenant of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stack import Stack, Tenant, free_port, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that the session's tests share."""
    ports = (free_port(), free_port())
    allowed = ",".join(f"127.0.0.1:{port}" for port in ports)
    with running(tmp_path_factory.mktemp("stack") / "data", TAUSESTACK_ALLOWED_PRIVATE_HOSTS=allowed) as started:
        started.remote_ports = ports
        yield started


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """A tenant that nobody else uses."""
    return stack.tenant()
