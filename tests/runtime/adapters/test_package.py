"""A package that this project did not write, from the package index, in each sandbox."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import packages
import tausestack as ts
from adapter_session import SessionCaller, open_session
from tausestack.errors import InvalidArguments, NotFound
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.fetch import fetch_python
from tausestack_runtime.adapters.host import server
from tausestack_runtime.adapters.launches import Launch
from tausestack_runtime.adapters.packages import Package
from tausestack_runtime.adapters.requirements import bounds_of
from wheels import publish

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

NAME = packages.CLOCK


@pytest.fixture(scope="module")
async def package(tmp_path_factory: pytest.TempPathFactory, package_store: Path) -> tuple[Path, Package]:
    """The package and a store into which it was fetched."""
    store = packages.put(package_store, tmp_path_factory.mktemp("fetched")) / "store"
    return store, await fetch_python(store, NAME, None)


@pytest.fixture
def index_store(package: tuple[Path, Package]) -> Path:
    return package[0]


@pytest.fixture
async def stack(index_store: Path) -> AsyncGenerator[Any]:
    async with ts.testing.stack(server, data=index_store.parent, tenant="acme") as made:
        yield made


@pytest.mark.covers("adapters:fetch")
async def test_a_package_is_fetched_once_hashed_and_compiled(package: tuple[Path, Package]) -> None:
    index_store, first = package
    assert first == await fetch_python(index_store, "MCP_server.time", None)
    assert first == await fetch_python(index_store, NAME, first.version)
    assert first.entry == "mcp_server_time:main"
    assert all(len(sha256) == 64 for sha256 in first.wheels.values())
    assert any(name.startswith("mcp_server_time-") for name in first.wheels)
    site = index_store / first.store / "site"
    assert list(site.glob("mcp_server_time/__pycache__/*.pyc"))
    assert os.listdir(index_store) == ["pypi"]  # noqa: PTH208 nothing half-made


@pytest.mark.covers("adapters:of-its-time")
@pytest.mark.parametrize(
    ("required", "written_for"),
    [
        ("mcp[cli]>=1.6.0", ["mcp<2"]),
        ("MCP (>=1.2,!=1.7)", ["mcp<2"]),
        ("fastmcp>2", ["fastmcp<3"]),
        ("mcp>=2.0", ["mcp<3"]),
        ("mcp", []),
        ("mcp>=1.6,<3", []),
        ("mcp~=1.6", []),
        ("mcp==1.9", []),
        ('mcp>=1.6; extra == "cli"', []),
        ("mcp-types>=1", []),
    ],
)
def test_an_open_requirement_is_of_the_release_that_it_names(
    tmp_path: Path, required: str, written_for: list[str]
) -> None:
    module = tmp_path / "asking.py"
    module.write_text("")
    assert bounds_of(publish(tmp_path, "asking", module, requires=["anyio>=4", required])) == written_for


@pytest.mark.covers("adapters:of-its-time")
async def test_a_server_gets_the_library_that_it_was_written_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, module = tmp_path / "index", tmp_path / "asking.py"
    module.write_text("def main(): ...\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    publish(index, "asking", module, requires=["mcp>=1.6.0"])
    for version in ("1.9", "2.3"):
        publish(index, "mcp", module, version=version)
    fetched = await fetch_python(tmp_path / "store", "asking", "1.0")
    assert [name for name in fetched.wheels if name.startswith("mcp-")] == ["mcp-1.9-py3-none-any.whl"]


@pytest.mark.covers("adapters:fetch-refused")
async def test_what_is_no_server_or_not_there_is_refused(index_store: Path) -> None:
    with pytest.raises(NotFound):
        await fetch_python(index_store, NAME, "0.0.0.1")
    for name, version in (("../x", None), ("--index-url=http://x", None), (NAME, "1; rm"), (NAME, "--pre")):
        with pytest.raises(InvalidArguments):
            await fetch_python(index_store, name, version)
    assert os.listdir(index_store) == ["pypi"]  # noqa: PTH208


@pytest.mark.covers("adapters:real-server")
async def test_the_time_server_answers_in_each_sandbox(
    package: tuple[Path, Package], tier: sandbox.Tier, log: Any
) -> None:
    index_store, fetched = package
    launch = Launch("pypi", NAME, fetched.version, (fetched.entry,), fetched.store, {})
    session = open_session(launch, index_store, tier, log)
    try:
        result = await SessionCaller(session).call("get_current_time", timezone="America/Bogota")
    finally:
        await session.stop()
    assert json.loads(result["content"][0]["text"])["datetime"].endswith("-05:00")


@pytest.mark.covers("adapters:fetch-and-probe")
async def test_the_host_fetches_and_tries_a_package(stack: Any, package: tuple[Path, Package]) -> None:
    wanted = {"registry_type": "pypi", "identifier": NAME, "version": package[1].version}
    fetched = await stack.tenant("acme", system=True).call("fetch", wanted)
    launch = {
        "registryType": "pypi", "identifier": NAME, "version": fetched["version"], "argv": fetched["argv"],
        "env": {}, "secrets": {}, "store": fetched["store"],
    }  # fmt: skip
    probed = await stack.tenant("acme", system=True).call("probe", {"name": NAME, "launch": launch})
    assert {tool["name"] for tool in probed["tools"]} == {"get_current_time", "convert_time"}
    assert os.environ.get("HOSTNAME", "\0") not in json.dumps(probed["tools"])
    with pytest.raises(InvalidArguments, match="pypi and npm"):
        await stack.tenant("acme", system=True).call("fetch", {"registry_type": "oci", "identifier": "x"})
