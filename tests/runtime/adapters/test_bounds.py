"""Servers that go beyond every bound."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from adapter_door import HostDoor
from tausestack_runtime.adapters.folders import MAX_BYTES, MAX_FILES, overfull

pytestmark = pytest.mark.anyio

BEYOND = {
    "nodes": ("many", "its definition has more than 5000 values"),
    "depth": ("deep", "its definition is nested deeper than 32"),
    "bytes": ("large", "its definition is larger than 256 KiB"),
    "words": ("wordy", "its description is longer than 8 KiB"),
}


def spec(door: HostDoor, mode: str) -> dict[str, Any]:
    return {**door.specs["fake"], "argv": ["unbounded:main", mode]}


@pytest.mark.covers("adapters:definitions-bounded")
@pytest.mark.parametrize("mode", BEYOND)
async def test_a_definition_beyond_the_bounds_is_left_out_when_planned_and_later(door: HostDoor, mode: str) -> None:
    name, reason = BEYOND[mode]
    probed = await door.stack.tenant("acme", system=True).call("probe", {"name": "x", "launch": spec(door, mode)})
    assert [tool["name"] for tool in probed["tools"]] == ["fine"]
    assert probed["left_out"] == [{"name": name, "reason": reason}]
    door.specs["x"] = spec(door, mode)
    caller = door.caller("x")
    assert [tool["name"] for tool in (await caller.get("tools/list"))["tools"]] == ["fine"]
    assert await caller.text("fine") == "done"
    assert "error" in await caller.ask("tools/call", {"name": name, "arguments": {}})


@pytest.mark.covers("adapters:definitions-bounded")
async def test_a_server_with_too_many_tools_is_refused(door: HostDoor) -> None:
    with pytest.raises(Exception, match="more than 1000 tools"):
        await door.stack.tenant("acme", system=True).call("probe", {"name": "x", "launch": spec(door, "tools")})


@pytest.mark.covers("adapters:nesting")
async def test_json_nested_without_end_breaks_its_own_server_alone(door: HostDoor) -> None:
    door.specs["x"] = spec(door, "nested")
    failed = await door.caller("x").ask("tools/call", {"name": "fine", "arguments": {}})
    assert "nested too deeply" in failed["error"]["message"]
    assert await door.caller("talk").text("grow") is None


@pytest.mark.covers("adapters:flood")
async def test_a_server_that_talks_without_end_is_read_slowly(door: HostDoor) -> None:
    door.specs["x"] = spec(door, "notes")
    flooding = asyncio.create_task(door.caller("x").call("fine"))
    other = door.caller("talk")
    await other.text("seen")
    began, spent = time.monotonic(), time.process_time()
    while time.monotonic() - began < 2:
        await other.text("seen")
        await asyncio.sleep(0.05)
    # The host and the test itself: far from the whole of a core.
    assert time.process_time() - spent < 1.2
    flooding.cancel()
    await asyncio.wait({flooding})


@pytest.mark.covers("adapters:folder-bounded")
def test_a_folder_is_overfull_by_its_files_and_their_size(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("x")
    assert not overfull(tmp_path)
    many, deep, large = (tmp_path / name for name in ("many", "deep", "large"))
    many.mkdir()
    for number in range(MAX_FILES + 1):
        (many / str(number)).touch()
    assert overfull(many)
    deep.joinpath(*["d"] * 80).mkdir(parents=True)
    assert overfull(deep)
    large.mkdir()
    for number in range(5):
        with (large / str(number)).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, MAX_BYTES // 4)
    assert overfull(large)
