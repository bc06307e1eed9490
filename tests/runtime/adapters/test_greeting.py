"""Finding out how a server speaks that takes its time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tausestack.errors import DeadlineExceeded
from tausestack_runtime.adapters.session import greeting
from tausestack_runtime.adapters.session.catalogue import Catalogue
from tausestack_runtime.adapters.session.earlier import Earlier
from tausestack_runtime.adapters.session.modern import Modern
from tausestack_runtime.adapters.session.peer import Peer, Receiver
from tausestack_runtime.adapters.session.waiting import WaitingRoom

pytestmark = pytest.mark.anyio

DISCOVERED = {"result": {"supportedVersions": ["2026-07-28"], "capabilities": {}}}
INITIALIZED = {"result": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "old"}}}
TOO_OLD = {"error": {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}}


class ScriptedLink:
    """A server that answers each method after some time, or never."""

    pid = None

    def __init__(self, answers: dict[str, tuple[float, dict[str, Any]]]) -> None:
        self._answers = answers
        self._receiver: Receiver | None = None
        self.sent: list[str] = []

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message["method"])
        if message["method"] in self._answers:
            seconds, answer = self._answers[message["method"]]
            asyncio.get_running_loop().call_later(seconds, self._answer, {"id": message["id"], **answer})

    def _answer(self, message: dict[str, Any]) -> None:
        assert self._receiver is not None
        asyncio.ensure_future(self._receiver.received(message, None))  # noqa: RUF006 it is done at once

    def done(self, number: int) -> None:
        return

    async def run(self) -> str:
        return "never"

    async def stop(self) -> str:
        return "gone"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "PROBE_SECONDS", 0.02)


async def greeted(answers: dict[str, tuple[float, dict[str, Any]]]) -> Any:
    peer = Peer("one", ScriptedLink(answers))
    async with asyncio.timeout(60):
        return await greeting.greeted(peer, Catalogue(peer, None), WaitingRoom(), None)


@pytest.mark.covers("adapters:slow-start")
async def test_a_server_that_passes_over_what_it_does_not_know_is_an_earlier_one() -> None:
    answers = {"initialize": (0, INITIALIZED), "tools/list": (0, {"result": {"tools": []}})}
    assert isinstance(await greeted(answers), Earlier)


@pytest.mark.covers("adapters:slow-start")
@pytest.mark.parametrize("initialized", [{}, {"initialize": (0, TOO_OLD)}], ids=["silent", "refuses"])
async def test_a_modern_server_that_is_slow_is_still_one(initialized: dict[str, Any]) -> None:
    assert isinstance(await greeted({"server/discover": (0.2, DISCOVERED), **initialized}), Modern)


@pytest.mark.covers("adapters:slow-start")
async def test_a_server_is_told_that_it_took_too_long() -> None:
    link = ScriptedLink({})
    with pytest.raises(DeadlineExceeded):
        await Peer("one", link).call("tools/list", {}, 0.02)
    assert link.sent == ["tools/list", "notifications/cancelled"]
