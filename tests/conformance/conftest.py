"""A stack, and servers that it did not write: the fixture of the conformance suite, and third parties'."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

import peers
from forwarder import forwarding
from stack import Stack, Tenant, running


@pytest.fixture(scope="session")
def fixture_url() -> Iterator[str]:
    """The endpoint of a server that offers all that the conformance suite asks for, in every version."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(peers.ROOT / "tests" / "fakes")}
    command = [sys.executable, "-m", "conformance_server"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, fixture_url: str) -> Iterator[Stack]:
    """A stack whose operator lets remote servers live where the fixture does."""
    allowed = urlsplit(fixture_url).netloc
    with running(tmp_path_factory.mktemp("stack") / "data", TAUSESTACK_ALLOWED_PRIVATE_HOSTS=allowed) as started:
        yield started


@pytest.fixture(scope="session")
def household(stack: Stack, fixture_url: str) -> Tenant:
    """A tenant that the tests of this folder share: the fixture as its default server, and a third party's."""
    tenant = stack.tenant()
    tenant.install(fixture_url, name="fixture", default=True)
    tenant.install("pypi:mcp-server-time", name="time")
    return tenant


@pytest.fixture(scope="session")
def doors(household: Tenant, fixture_url: str) -> Iterator[dict[str, str]]:
    """The fixture's endpoint direct, on its own endpoint and on the merged one, for who knows no credential."""
    with forwarding(household.url, household.key) as forwarder:
        own = f"{forwarder.url}/tenants/{household.name}/servers/fixture/mcp"
        yield {"direct": fixture_url, "own": own, "merged": f"{forwarder.url}/tenants/{household.name}/mcp"}
