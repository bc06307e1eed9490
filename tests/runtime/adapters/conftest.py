"""Third-party servers for the tests of the adapter host."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from adapters.talkative_http import Server as TalkativeServer

from adapter_door import HostDoor, open_door, served
from adapter_session import SessionCaller, open_session
from tausestack.errors import Unavailable
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.launches import Launch

FAKES = Path(__file__).parents[2] / "fakes" / "adapters"


class Kept:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append({"event": event, **fields})

    def texts(self, event: str) -> list[str]:
        return [str(one.get("text")) for one in self.events if one["event"] == event]


@pytest.fixture
def log() -> Kept:
    return Kept()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that holds the fake servers."""
    site = tmp_path / "store" / "fake" / "site"
    site.mkdir(parents=True)
    for fake in FAKES.glob("*.py"):
        shutil.copy(fake, site)
    return tmp_path / "store"


@pytest.fixture
async def door(store: Path) -> AsyncGenerator[HostDoor]:
    """A host whose servers `talk`, `fake` and `modern` are the fake ones, over stdio."""
    async with open_door(store.parent) as opened:
        for name, module in (("talk", "talkative"), ("fake", "third_party"), ("modern", "modern_party")):
            opened.specs[name] = {
                "registryType": "pypi", "identifier": name, "version": "1", "argv": [f"{module}:main"], "env": {},
                "secrets": {}, "store": "fake",
            }  # fmt: skip
        yield opened


@pytest.fixture
async def remote() -> AsyncGenerator[tuple[TalkativeServer, str]]:
    """The talkative server over HTTP, and its URL."""
    server = TalkativeServer()
    async with served(server.app) as url:
        yield server, f"{url}/mcp"


@pytest.fixture
async def remote_door(
    store: Path, remote: tuple[TalkativeServer, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[HostDoor]:
    """A host whose server `talk` is elsewhere."""
    monkeypatch.setenv("TAUSESTACK_ALLOWED_PRIVATE_HOSTS", remote[1].split("/")[2])
    async with open_door(store.parent) as opened:
        opened.specs["talk"] = {"registryType": "remote", "url": remote[1], "headers": {}, "protocols": ["2025-11-25"]}
        yield opened


@pytest.fixture(params=["door", "remote_door"])
def either(request: pytest.FixtureRequest) -> HostDoor:
    """A host whose server `talk` is a process, and one where it is elsewhere."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["bwrap", "landlock"])
def tier(request: pytest.FixtureRequest) -> sandbox.Tier:
    """Each sandbox that works here."""
    wish: sandbox.Tier = request.param
    try:
        return sandbox.choose(wish)
    except Unavailable as error:
        pytest.skip(error.message)


@pytest.fixture
def best() -> sandbox.Tier:
    """The sandbox that servers get here; without one the tests fail rather than skip."""
    return sandbox.choose()


@pytest.fixture
def launch() -> Callable[..., Launch]:
    """Makes launches of the fake server in one of its moods."""

    def make(mode: str = "plain", env: dict[str, str] | None = None, pins: dict[str, str] | None = None) -> Launch:
        return Launch("pypi", "fake", "1", ("third_party:main", mode), "fake", env or {}, pins, ("2024-11-05",))

    return make


@pytest.fixture
def session(store: Path, launch: Callable[..., Launch], best: sandbox.Tier, log: Kept) -> Callable[..., object]:
    """Opens a session with the fake server and ends it."""

    @asynccontextmanager
    async def opened(
        mode: str = "plain", *, tier: sandbox.Tier | None = None, env: dict[str, str] | None = None, idle: float = 60.0,
        folder: Path | None = None,
    ) -> AsyncGenerator[SessionCaller]:  # fmt: skip
        wanted = launch(mode, env)
        one = open_session(wanted, store, tier or best, log, idle=idle, folder=folder)
        try:
            yield SessionCaller(one)
        finally:
            await one.stop()

    return opened
