"""A stack, and servers that it did not write: the fixture of the conformance suite, and third parties'."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import packages
import peers
from forwarder import forwarding
from stack import Stack, Tenant, free_port, running

START_SECONDS = 60
EVERYTHING = peers.NODE_MODULES / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"


@contextmanager
def started(module: str) -> Iterator[str]:
    """Run a server of the fakes, and give its endpoint, which it prints."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(peers.ROOT / "tests" / "fakes")}
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()  # told to end, it would wait for those who still listen
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="session")
def fixtures() -> Iterator[dict[str, str]]:
    """The endpoint of a server that offers all that the conformance suite asks for, in every version, for each door."""
    with ExitStack() as running_ones:
        yield {door: running_ones.enter_context(started("conformance_server")) for door in ("direct", "own", "merged")}


@pytest.fixture(scope="session")
def fixture_url(fixtures: dict[str, str]) -> str:
    """The one of these that the household has."""
    return fixtures["merged"]


@pytest.fixture(scope="session")
def earlier_url() -> Iterator[str]:
    """The endpoint of the official reference server of the earlier versions, which speaks nothing else."""
    port = free_port()
    process = subprocess.Popen(
        [peers.NODE, EVERYTHING, "streamableHttp"],
        env=peers.environment(PORT=str(port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_SECONDS
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", port)) != 0:
            assert process.poll() is None
            assert time.monotonic() < deadline, "the reference server did not start"
            time.sleep(0.05)  # the poll of a condition with a deadline
    yield f"http://127.0.0.1:{port}/mcp"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def peculiar_url() -> Iterator[str]:
    """The endpoint of a server whose definitions no strict client reads as they are."""
    with started("peculiar_party") as url:
        yield url


@pytest.fixture(scope="session")
def sessionless_url() -> Iterator[str]:
    """The endpoint of a server of every version that keeps no sessions in the earlier ones."""
    with started("sessionless_party") as url:
        yield url


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory,
    fixtures: dict[str, str],
    earlier_url: str,
    peculiar_url: str,
    sessionless_url: str,
    package_store: Path,
) -> Iterator[Stack]:
    """A stack whose operator lets remote servers live where these do."""
    urls = (*fixtures.values(), earlier_url, peculiar_url, sessionless_url)
    allowed = ",".join(urlsplit(url).netloc for url in urls)
    data = packages.put(package_store, tmp_path_factory.mktemp("stack") / "data")
    with running(data, TAUSESTACK_ALLOWED_PRIVATE_HOSTS=allowed) as started:
        yield started


@pytest.fixture(scope="session")
def household(stack: Stack, fixture_url: str, peculiar_url: str) -> Tenant:
    """A tenant that the tests of this folder share: the fixture as its default server, and two third parties'."""
    tenant = stack.tenant()
    tenant.install(fixture_url, name="fixture", default=True)
    tenant.install("pypi:mcp-server-time", name="time")
    tenant.install(peculiar_url, name="peculiar")
    return tenant


@pytest.fixture(scope="session")
def npm_at_hand(stack: Stack, npm_store: Path) -> None:
    """Spare the stack the fetching of two npm packages; a third it fetches itself."""
    packages.put(npm_store, stack.data, *(f"npm/{name}" for name in (packages.EVERYTHING, packages.FILES)))


@pytest.fixture(scope="session")
def doors(stack: Stack, household: Tenant, fixtures: dict[str, str]) -> Iterator[dict[str, str]]:
    """A fixture's endpoint direct, on its own endpoint and on the merged one, for who knows no credential.

    Each is of a server of its own, so that the doors can be tried at once.
    """
    neighbour = stack.tenant()
    neighbour.install(fixtures["own"], name="fixture")
    with forwarding(stack.url, neighbour.key) as own, forwarding(stack.url, household.key) as merged:
        yield {
            "direct": fixtures["direct"],
            "own": f"{own.url}/tenants/{neighbour.name}/servers/fixture/mcp",
            "merged": f"{merged.url}/tenants/{household.name}/mcp",
        }
