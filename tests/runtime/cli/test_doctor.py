"""What doctor counts as a fault: what doesn't answer, and not what is slow to start on a busy machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tausestack_runtime.cli import doctor
from tausestack_runtime.services import SERVICES, socket_path
from tausestack_runtime.settings import read_settings

pytestmark = pytest.mark.anyio
DEAF = "storage"
OK, BROKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The figures of a stack none of whose services was running, each with a socket, but for one."""
    answers = {spec.name: OK for spec in SERVICES if spec.name != DEAF} | {"billing": BROKEN}
    servers: list[asyncio.Server] = []
    for name, answer in answers.items():

        async def reply(reader: Any, writer: Any, answer: bytes = answer) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        servers.append(await asyncio.start_unix_server(reply, socket_path(tmp_path, name)))
    yield {
        "services": [],
        "gateways": [{"connections": 1, "pss_bytes": 1}],
        "gateway": {"ready_seconds": 90.0},
        "supervisor": {"run": str(tmp_path)},
        "pss_bytes": 1,
    }
    for server in servers:
        server.close()


async def checks(figures: dict[str, Any], data: Path) -> dict[str, tuple[Any, Any]]:
    async def told() -> dict[str, Any]:
        return figures

    client: Any = SimpleNamespace(doctor=told)
    found = await doctor.examine(client, read_settings(data=data))
    return {
        str(one["check"]): (str(one["value"]), one["ok"] if one["ok"] is None else bool(one["ok"])) for one in found
    }


@pytest.mark.covers("cli:doctor-times")
async def test_what_is_slow_is_told_of_and_is_no_fault(
    served: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "COLD_BOUND", 0.0)
    found = await checks(served, tmp_path)
    value, ok = found["start to ready"]
    assert (ok, value) == (None, "90 s: slow")
    value, ok = found["cold call: auth"]
    assert (ok, value.endswith(": slow")) == (None, True)


@pytest.mark.covers("cli:doctor-times")
async def test_what_does_not_answer_is_a_fault(served: dict[str, Any], tmp_path: Path) -> None:
    found = await checks(served, tmp_path)
    assert found[f"cold call: {DEAF}"][1] is False
    assert found["cold call: billing"] == ("it answers 500: see the stack's log", False)
