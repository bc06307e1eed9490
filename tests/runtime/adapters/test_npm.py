"""npm packages that this project did not write, from the package index, run by the machine's own Node."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from adapter_door import Caller, HostDoor, open_door
from adapter_session import SessionCaller, open_session
from packages import EVERYTHING, FILES, MEMORY, put
from tausestack.errors import InvalidArguments, NotFound, Unavailable
from tausestack_runtime.adapters import node, sandbox
from tausestack_runtime.adapters.fetch_npm import fetch_npm
from tausestack_runtime.adapters.launches import Launch
from tausestack_runtime.adapters.packages import Package

FAKES = Path(__file__).parents[2] / "fakes" / "adapters"
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
async def packages(tmp_path_factory: pytest.TempPathFactory, npm_store: Path) -> tuple[Path, dict[str, Package]]:
    """The packages and a store into which they were fetched."""
    store = put(npm_store, tmp_path_factory.mktemp("npm")) / "store"
    found = await asyncio.gather(*(fetch_npm(store, name, None) for name in (EVERYTHING, FILES, MEMORY)))
    return store, {one.identifier: one for one in found}


@pytest.fixture
async def npm_door(packages: tuple[Path, dict[str, Package]]) -> AsyncGenerator[HostDoor]:
    store, found = packages
    async with open_door(store.parent) as door:
        for name, package in found.items():
            door.specs[name.rpartition("/")[2]] = {
                "registryType": "npm", "identifier": name, "version": package.version, "argv": [package.entry],
                "env": {}, "secrets": {}, "store": package.store,
            }  # fmt: skip
        yield door


@pytest.mark.covers("adapters:npm-fetch")
async def test_a_package_is_fetched_once_and_hashed_and_nothing_of_it_runs(
    packages: tuple[Path, dict[str, Package]],
) -> None:
    store, found = packages
    first = found[MEMORY]
    assert first == await fetch_npm(store, MEMORY, first.version)
    assert first.entry == f"node_modules/{MEMORY}/dist/index.js"
    assert (store / first.store / first.entry).is_file()
    assert all(integrity.startswith("sha") for integrity in first.wheels.values())
    assert f"node_modules/{MEMORY}" in first.wheels
    assert os.listdir(store) == ["npm"]  # noqa: PTH208 nothing half-made
    with pytest.raises(NotFound):
        await fetch_npm(store, MEMORY, "0.0.0")
    for name, version in (("../x", None), ("--prefix=/", None), ("Up", None), (MEMORY, "latest"), (MEMORY, "^1.0.0")):
        with pytest.raises(InvalidArguments):
            await fetch_npm(store, name, version)
    assert os.listdir(store) == ["npm"]  # noqa: PTH208


@pytest.mark.covers("adapters:npm-heavy")
async def test_a_server_that_takes_memories_and_many_files_starts(tmp_path: Path, tier: sandbox.Tier, log: Any) -> None:
    home = tmp_path / "heavy" / "node_modules" / "heavy"
    home.mkdir(parents=True)
    shutil.copy(FAKES / "heavy_node.mjs", home)
    launch = Launch("npm", "heavy", "1", ("node_modules/heavy/heavy_node.mjs", "--x"), "heavy", {})
    session = open_session(launch, tmp_path, tier, log)
    try:
        told = await SessionCaller(session).call("told")
    finally:
        await session.stop()
    assert told["content"][0]["text"] == "4 memories, 1000 files, --x"


@pytest.mark.covers("adapters:npm-servers")
async def test_the_reference_server_lists_and_answers_in_each_sandbox(
    packages: tuple[Path, dict[str, Package]], tier: sandbox.Tier, log: Any
) -> None:
    store, found = packages
    package = found[EVERYTHING]
    launch = Launch("npm", EVERYTHING, package.version, (package.entry,), package.store, {})
    session = open_session(launch, store, tier, log)
    try:
        caller = SessionCaller(session)
        result = await caller.call("echo", message="hi")
        prompts = await caller.request("prompts/list", {})
    finally:
        await session.stop()
    assert result["content"] == [{"type": "text", "text": "Echo: hi"}]
    assert prompts["prompts"]


@pytest.mark.covers("adapters:folders")
async def test_what_a_server_writes_lasts_until_it_is_purged(npm_door: HostDoor) -> None:
    own = npm_door.stack.tenant("acme", system=True)
    npm_door.specs["server-memory"]["env"] = {"MEMORY_FILE_PATH": "${folder}/memory.json"}
    npm_door.specs["server-filesystem"]["argv"].append("${folder}")
    memory, files = npm_door.caller("server-memory"), npm_door.caller("server-filesystem")
    ana = {"name": "Ana", "entityType": "person", "observations": ["likes rain"]}
    await memory.call("create_entities", {"entities": [ana]})
    await files.call("write_file", {"path": "note.txt", "content": "kept"})
    for name in ("server-memory", "server-filesystem"):
        await own.call("stop", {"name": name})
    assert (await memory.call("read_graph"))["structuredContent"]["entities"] == [ana]
    assert "kept" in (await files.call("read_text_file", {"path": "note.txt"}))["content"][0]["text"]
    await own.call("stop", {"name": "server-memory", "purge": True})
    assert (await memory.call("read_graph"))["structuredContent"]["entities"] == []


@pytest.mark.covers("adapters:roots-own", "adapters:npm-servers")
async def test_the_reference_server_shows_nobody_the_roots_of_another(npm_door: HostDoor) -> None:
    first, other, blind = (
        npm_door.caller("server-everything", who=who, capabilities=able)
        for who, able in (("key:one", {"roots": {}}), ("key:two", {"roots": {}}), ("key:three", {}))
    )

    async def roots(caller: Caller, name: str | None) -> str:
        """Return what the server shows of roots, asked for them where it asks."""
        result = await caller.call("get-roots-list")
        while result["resultType"] == "input_required":
            folder = {"uri": f"file:///{name}", "name": name}
            answers = {key: {"roots": [folder]} for key in result["inputRequests"]}
            result = await caller.call("get-roots-list", answers=answers, state=result["requestState"])
        return str(result["content"])

    assert "file:///ana" in await roots(first, "ana")
    assert "file:///" not in await roots(blind, None)
    told = await roots(other, "luis")
    assert "file:///luis" in told
    assert "ana" not in told
    assert "file:///ana" in await roots(first, "ana")


@pytest.mark.covers("adapters:no-node")
async def test_without_node_one_sentence_says_so(
    npm_door: HostDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="install Node"):
        await fetch_npm(tmp_path / "store", MEMORY, None)
    answer: Any = await npm_door.caller("server-everything").ask("tools/list")
    assert "install Node" in answer["error"]["message"]


@pytest.mark.covers("adapters:no-node")
def test_no_more_of_a_node_is_shown_than_it_needs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    assert node.needs(home / "bin" / "node") == [home / "bin" / "node"]
    (home / "lib").mkdir()
    assert node.needs(home / "bin" / "node") == [home / "bin" / "node", home / "lib"]
    assert node.needs(Path("/usr/bin/node")) == []
