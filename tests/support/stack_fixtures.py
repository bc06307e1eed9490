"""Fixtures of the running stack: one a test session, and a tenant of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import packages
from stack import Stack, Tenant, free_port, running


@pytest.fixture(scope="session")
def package_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a package of the index, fetched as a tenant's is, once for all workers; nobody may change it."""
    return packages.fetched(tmp_path_factory)


@pytest.fixture(scope="session")
def npm_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with three npm packages."""
    return packages.fetched_npm(tmp_path_factory)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that the session's tests share."""
    ports = (free_port(), free_port())
    allowed = ",".join(f"127.0.0.1:{port}" for port in ports)
    with running(tmp_path_factory.mktemp("stack") / "data", TAUSESTACK_ALLOWED_PRIVATE_HOSTS=allowed) as started:
        started.remote_ports = ports
        yield started


@pytest.fixture(scope="session")
def clock_at_hand(stack: Stack, package_store: Path) -> None:
    """Spare the shared stack the fetching of the package that a test installs."""
    packages.put(package_store, stack.data)


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """A tenant that nobody else uses."""
    return stack.tenant()
