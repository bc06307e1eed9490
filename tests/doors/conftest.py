"""Third parties' servers at URLs, which a test installs by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from remotes import Party, party
from stack import Stack


@pytest.fixture
def red(stack: Stack) -> Iterator[Party]:
    """A server that speaks 2026-07-28."""
    with party(stack.remote_ports[0], "red") as running:
        yield running


@pytest.fixture
def blue(stack: Stack) -> Iterator[Party]:
    """Another of its kind."""
    with party(stack.remote_ports[1], "blue") as running:
        yield running
