"""What a third-party server can and can't reach."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tausestack.errors import Unavailable
from tausestack_runtime.adapters import sandbox, seccomp

pytestmark = pytest.mark.anyio

Open = Callable[..., Any]


async def called(session: Any, name: str, **arguments: Any) -> Any:
    result = await session.call(name, **arguments)
    return json.loads(result["content"][0]["text"])


@pytest.mark.covers("sandbox:environment")
async def test_a_server_sees_what_was_declared_for_it_and_no_more(
    session: Open, tier: sandbox.Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_CANARY", "canary")
    async with session(tier=tier, env={"TOKEN": "s3cret", "LD_PRELOAD": "/nowhere.so"}) as one:
        seen = await called(one, "look", paths=[])
    environment = seen["environment"]
    assert environment["TOKEN"] == "s3cret"
    ours = {"PATH", "HOME", "TMPDIR", "LANG", "TZ", "PYTHONHASHSEED", "PWD", "LC_CTYPE"}
    assert set(environment) <= {"TOKEN", "LD_PRELOAD", *ours}
    assert environment["PYTHONHASHSEED"] == "0"
    assert "canary" not in json.dumps(environment)
    assert seen["descriptors"] == "ok []"


@pytest.mark.covers("sandbox:files")
async def test_a_server_reads_no_file_but_its_own_and_writes_only_at_home(
    session: Open, tier: sandbox.Tier, tmp_path: Path
) -> None:
    (tmp_path / "tenants").mkdir()
    hidden = [
        str(tmp_path),
        str(tmp_path / "tenants"),
        str(Path.home()),
        str(Path(__file__).parents[3]),
        "/etc",
        "/var",
    ]
    async with session(tier=tier) as one:
        seen = await called(one, "look", paths=hidden)
    allowed = {str(tmp_path), str(Path.home()), "/etc"} if tier == "bwrap" else set[str]()
    for path, outcome in seen["files"].items():
        # bubblewrap shows the empty folders that lead to what is bound; never what is in the real ones.
        assert not outcome.startswith("ok") or path in allowed, (path, outcome)
        assert "tenants" not in outcome
        assert "passwd" not in outcome
    assert seen["home"].startswith("ok")
    assert not seen["root"].startswith("ok")
    assert not seen["package"].startswith("ok")
    assert not (tmp_path / "store" / "fake" / "site" / "note").exists()


@pytest.mark.covers("sandbox:network")
async def test_a_server_has_no_network_and_no_socket_of_the_machine(session: Open, tier: sandbox.Tier) -> None:
    async with session(tier=tier) as one:
        seen = await called(one, "look", paths=[])
    for way in ("tcp", "udp", "unix"):
        assert not seen[way].startswith("ok"), way


@pytest.mark.covers("sandbox:processes")
async def test_a_server_sees_and_signals_no_other_process(session: Open, tier: sandbox.Tier) -> None:
    async with session(tier=tier) as one:
        seen = await called(one, "look", paths=[str(os.getpid())])
    assert not seen["parent"].startswith("ok")
    processes = seen["processes"]
    assert not processes.startswith("ok") or len(json.loads(processes.removeprefix("ok "))) <= 3


@pytest.mark.covers("sandbox:folder")
async def test_a_server_keeps_what_it_writes_into_its_own_folder(
    session: Open, tier: sandbox.Tier, tmp_path: Path
) -> None:
    folder = tmp_path / "tenants" / "acme" / "servers" / "fake"
    folder.mkdir(parents=True)
    (tmp_path / "tenants" / "globex").mkdir()
    async with session(tier=tier, folder=folder, env={"KEEP": "${folder}/kept"}) as one:
        seen = await called(one, "look", paths=[str(folder.parent), str(tmp_path / "tenants")])
    assert (folder / "note").read_text() == "mine"
    environment = seen["environment"]
    assert environment["KEEP"].removesuffix("/kept") == ("/folder" if tier == "bwrap" else str(folder))
    assert environment["HOME"] not in environment["KEEP"]
    assert not any(outcome.startswith("ok") and "globex" in outcome for outcome in seen["files"].values())
    async with session(tier=tier, folder=folder) as one:
        assert "note" in (await called(one, "look", paths=["."]))["files"]["."]


@pytest.mark.covers("sandbox:folder")
async def test_a_folder_that_does_not_last_goes_by_the_same_name_and_is_written_too(
    session: Open, best: sandbox.Tier
) -> None:
    async with session(env={"KEEP": "${folder}/kept"}) as one:
        seen = await called(one, "look", paths=["."])
        again = await called(one, "look", paths=["."])
    # A server that names it in its definitions would else have others than those that were approved.
    assert best == "landlock" or seen["environment"]["KEEP"] == "/folder/kept"
    assert "note" in again["files"]["."]


@pytest.mark.covers("sandbox:reaped")
async def test_what_a_server_leaves_behind_ends_with_it(session: Open, tier: sandbox.Tier, tmp_path: Path) -> None:
    mark = f"{tmp_path.name}-{tier}"
    async with session(tier=tier) as one:
        await called(one, "fork", mark=mark)
        with anyio.fail_after(60):
            while not _running(mark):  # its command line can be read a moment after its start
                await anyio.lowlevel.checkpoint()
    with anyio.fail_after(60):
        while _running(mark):
            await anyio.lowlevel.checkpoint()


@pytest.mark.covers("sandbox:secrets-not-in-argv")
async def test_secrets_stand_in_no_command_line(session: Open, tier: sandbox.Tier) -> None:
    async with session(tier=tier, env={"TOKEN": "in-no-command-line"}) as one:
        await one.session.ready()
        assert _running("in-no-command-line") == []


@pytest.mark.covers("sandbox:refuses")
def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.wish_of({}) == "auto"
    assert sandbox.wish_of({"TAUSESTACK_SANDBOX": "landlock"}) == "landlock"
    with pytest.raises(Unavailable, match="auto, bwrap or landlock"):
        sandbox.wish_of({"TAUSESTACK_SANDBOX": "none"})
    monkeypatch.setattr(os, "defpath", "/nowhere")
    with pytest.raises(Unavailable, match="not installed"):
        sandbox.choose("bwrap")
    assert sandbox.choose() == "landlock"
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unavailable, match="darwin"):
        sandbox.choose()


@pytest.mark.covers("sandbox:falls-back")
def test_a_bubblewrap_that_does_not_work_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho no namespaces >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    assert sandbox.choose() == "landlock"
    with pytest.raises(Unavailable, match="no namespaces"):
        sandbox.choose("bwrap")


def test_the_filter_is_whole_instructions() -> None:
    assert seccomp.supported()
    for sockets in (True, False):
        assert len(seccomp.program(sockets=sockets)) % 8 == 0


def _running(mark: str) -> list[str]:
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if mark in command:
                found.append(command)
    return found
