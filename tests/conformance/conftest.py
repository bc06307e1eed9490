"""A stack with servers that nobody here wrote, and the clients that nobody here wrote to meet them."""

from __future__ import annotations

import pytest

from stack import Stack, Tenant


@pytest.fixture(scope="session")
def household(stack: Stack) -> Tenant:
    """A tenant with a third-party server, which the tests of this folder share."""
    tenant = stack.tenant()
    tenant.install("pypi:mcp-server-time", name="time")
    return tenant
