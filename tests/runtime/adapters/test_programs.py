"""What starts a package's server: one of its commands, and it may be a program that is no Python."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from adapter_session import SessionCaller, open_session
from tausestack.errors import InvalidArguments
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.fetch import fetch_python
from tausestack_runtime.adapters.launches import Launch
from tausestack_runtime.adapters.packages import Package, server_of
from wheels import publish

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

SHELL = rb"""#!/bin/sh
while read -r line; do
  id=$(expr "$line" : '.*"id": *\([0-9]*\)')
  case $line in
    *'"initialize"'*) said='"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}' ;;
    *'"tools/list"'*) said='"tools":[{"name":"say","inputSchema":{"type":"object"}}]' ;;
    *'"tools/call"'*) said='"content":[{"type":"text","text":"'"$*"'"}]' ;;
    *'"id"'*) said= ;;
    *) continue ;;
  esac
  [ "$said" ] || { echo '{"jsonrpc":"2.0","id":'"$id"',"error":{"code":-32601,"message":"none"}}'; continue; }
  echo '{"jsonrpc":"2.0","id":'"$id"',"result":{'"$said"'}}'
done
"""  # noqa: E501
PYTHON = rb"""#!python
import json, sys
import odd
SAID = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}},
    "tools/list": {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [{"type": "text", "text": " ".join(sys.argv[1:])}]},
}
for line in sys.stdin:
    asked = json.loads(line)
    known = asked["method"] in SAID
    said = {"result": SAID[asked["method"]]} if known else {"error": {"code": -32601, "message": "none"}}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}), flush=True)
"""  # noqa: E501
MACHINE_CODE = Path(sys.executable).resolve().read_bytes()[:4096]


@pytest.fixture(scope="module")
async def fetched(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[tuple[Path, Package]]:
    """A store, and in it a package that carries a program and no command of Python's."""
    folder = tmp_path_factory.mktemp("programs")
    module = folder / "odd.py"
    module.write_text("")
    data = {"odd_bin/tool": MACHINE_CODE, "odd_bin/notes": b"# notes"}
    publish(folder / "index", "odd", module, commands=[], programs={"odd-program": SHELL}, data=data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder / "index"))
        yield folder / "store", await fetch_python(folder / "store", "odd", None)


@pytest.mark.covers("adapters:programs")
@pytest.mark.parametrize("program", [SHELL, PYTHON], ids=["shell", "python"])
async def test_a_program_that_a_wheel_carries_is_a_server(
    program: bytes, fetched: tuple[Path, Package], tier: sandbox.Tier, log: Any
) -> None:
    store, package = fetched
    assert package.entry == "bin/odd-program"
    (store / package.store / "site" / package.entry).write_bytes(program)
    launch = Launch("pypi", "odd", package.version, (package.entry, "a", "b c"), package.store, {})
    session = open_session(launch, store, tier, log)
    try:
        result = await SessionCaller(session).call("say")
    finally:
        await session.stop()
    assert result["content"][0]["text"] == "a b c"


@pytest.mark.covers("adapters:programs")
async def test_a_program_within_a_package_may_be_run(fetched: tuple[Path, Package]) -> None:
    store, package = fetched
    carried = store / package.store / "site" / "odd_bin"
    assert (carried / "tool").stat().st_mode & 0o111 == 0o111
    assert not (carried / "notes").stat().st_mode & 0o111


@pytest.mark.covers("adapters:programs")
@pytest.mark.parametrize(
    ("commands", "started"),
    [
        (["odd", "odd-mcp"], "odd"),
        (["odd-admin", "odd-server"], "odd-server"),
        (["admin", "serve-mcp"], "serve-mcp"),
        (["admin"], "admin"),
    ],
)
def test_of_several_commands_the_servers_is_started(commands: list[str], started: str) -> None:
    assert server_of("odd", "1.0", "odd", {command: command for command in commands}) == started


@pytest.mark.covers("adapters:programs")
def test_commands_of_which_none_is_the_servers_are_named() -> None:
    with pytest.raises(InvalidArguments, match="several commands, and none of its name: a-mcp, b-mcp"):
        server_of("odd", "1.0", "odd", {"a-mcp": "a", "b-mcp": "b"})
    with pytest.raises(InvalidArguments, match="it is a library"):
        server_of("odd", "1.0", "odd", {})
