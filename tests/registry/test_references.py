"""What can be named for installation, and what settings may be given along."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack.errors import InvalidArguments, NotFound
from tausestack.testing import Stack
from tausestack_registry.catalogue import bundled

pytestmark = pytest.mark.anyio


@pytest.mark.covers("registry:refs")
@pytest.mark.parametrize(
    "ref",
    [
        "server.json", "pypi:a b", "pypi:x==1; rm", "../x", "git+ssh://x", "", "npm:", "npm:Upper", "npm:@scope",
        "npm:thing@latest", "npm:thing@^1", "npm:../x", "npm:@a/../b", "npm:a;b", "ftp://example.com/mcp",
    ],
)  # fmt: skip
async def test_other_references_are_refused_saying_which_are_taken(stack: Stack, ref: str) -> None:
    with pytest.raises(InvalidArguments, match=r"catalogue name.*pypi:NAME.*npm:NAME.*https://HOST/PATH"):
        await stack.acme.call("install", {"ref": ref})


async def test_an_unknown_name_is_not_found(stack: Stack) -> None:
    with pytest.raises(NotFound, match="catalogue has no"):
        await stack.acme.call("install", {"ref": "nothing-such"})


@pytest.mark.covers("registry:npm")
@pytest.mark.parametrize(
    ("ref", "name", "identifier", "version"),
    [
        ("npm:thing", "thing", "thing", "3.0"),
        ("npm:some.thing@1.2.3-rc.1", "some-thing", "some.thing", "1.2.3-rc.1"),
        ("npm:@scope/thing", "thing", "@scope/thing", "3.0"),
        ("npm:@scope/thing@2.0.1", "thing", "@scope/thing", "2.0.1"),
        ("npm:@scope/mcp", "scope-mcp", "@scope/mcp", "3.0"),
    ],
)
async def test_a_package_of_npm_is_installed_by_its_name(
    stack: Stack, ref: str, name: str, identifier: str, version: str
) -> None:
    installed = await stack.acme.call("install", {"ref": ref, "config": {"A": "1"}, "approve": True})
    assert (installed["name"], installed["kind"], installed["version"]) == (name, "adapter", version)
    assert installed["protocols"] == ["2026-07-28", "2025-06-18"]
    launch = await stack.tenant("acme", system=True).call("launch", {"server": name})
    assert launch["registryType"] == "npm"
    assert launch["identifier"] == identifier
    assert launch["argv"] == [f"node_modules/{identifier}/dist/index.js"]
    assert launch["env"] == {"A": "1"}


@pytest.mark.covers("registry:catalogue-arguments")
@pytest.mark.parametrize("ref", ["server-filesystem", "npm:@modelcontextprotocol/server-filesystem"])
async def test_what_the_catalogue_says_of_a_packages_command_holds_by_either_name(stack: Stack, ref: str) -> None:
    plan = await stack.acme.call("plan", {"ref": ref})
    assert plan["command"][1:] == ["."]
    assert plan["name"] == "server-filesystem"


@pytest.mark.covers("registry:arguments")
@pytest.mark.parametrize("ref", ["server-filesystem", "pypi:other", "npm:@scope/other"])
async def test_a_packages_command_is_given_the_words_that_the_tenant_says(stack: Stack, ref: str) -> None:
    words = ["--db-path", "${folder}/notes.db", "ñandú; $(id)"]
    plan = await stack.acme.call("plan", {"ref": ref, "arguments": words})
    assert plan["command"][1:] == words
    other = await stack.acme.call("plan", {"ref": ref, "arguments": [*words, "--read-only"]})
    assert other["hash"] != plan["hash"]
    await stack.acme.call("install", {"ref": ref, "name": "one", "arguments": words, "approve": plan["hash"]})
    launch = await stack.tenant("acme", system=True).call("launch", {"server": "one"})
    assert launch["argv"][1:] == words


@pytest.mark.covers("registry:arguments")
@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("https://mcp.example.com/mcp", ["--x"]),
        ("colombia", ["--x"]),
        ("pypi:other", ["a\0b"]),
        ("pypi:other", ["x" * 4097]),
        ("pypi:other", ["x"] * 65),
    ],
    ids=["a URL", "a service of ours", "a zero byte", "a long one", "many"],
)
async def test_words_that_no_command_can_be_given_are_refused(stack: Stack, ref: str, words: list[str]) -> None:
    with pytest.raises(InvalidArguments, match="arguments"):
        await stack.acme.call("install", {"ref": ref, "arguments": words, "approve": True})


@pytest.mark.covers("registry:catalogue-arguments")
async def test_a_packages_variables_have_the_catalogues_values_unless_the_tenant_sets_others(stack: Stack) -> None:
    plan = await stack.acme.call("plan", {"ref": "server-memory"})
    assert plan["environment"] == ["MEMORY_FILE_PATH"]
    for name, config in (("usual", {}), ("own", {"MEMORY_FILE_PATH": "/tmp/other.jsonl"})):
        await stack.acme.call("install", {"ref": "server-memory", "name": name, "config": config, "approve": True})
        launch = await stack.tenant("acme", system=True).call("launch", {"server": name})
        known = {"MEMORY_FILE_PATH": "/proc/self/cwd/memory.jsonl"}
        assert launch["env"] == {**known, **config}


@pytest.mark.covers("registry:catalogue")
def test_the_catalogue_names_an_exact_version_of_each_package() -> None:
    packaged = {entry.name: entry.package for entry in bundled().entries if entry.package is not None}
    assert set(packaged) == {
        "mcp-server-fetch", "mcp-server-time", "server-everything", "server-filesystem", "server-memory",
    }  # fmt: skip
    for name, package in packaged.items():
        assert package["registryType"] == ("pypi" if name.startswith("mcp-") else "npm")
        assert package["version"][0].isdigit()
        assert package["transport"] == {"type": "stdio"}


@pytest.mark.covers("registry:remote-urls")
@pytest.mark.parametrize(
    ("ref", "name", "url"),
    [
        ("https://Example.com/mcp", "example-com", "https://example.com/mcp"),
        ("HTTP://127.0.0.1:3901/a/mcp", "127-0-0-1-3901", "http://127.0.0.1:3901/a/mcp"),
        ("https://example.com:443", "example-com", "https://example.com/"),
        ("http://[::1]:8080/mcp?set=a", "1-8080", "http://[::1]:8080/mcp?set=a"),
    ],
)
async def test_a_url_is_kept_in_its_normal_form_and_shown_without_its_query(
    stack: Stack, ref: str, name: str, url: str
) -> None:
    installed = await stack.acme.call("install", {"ref": ref, "approve": True})
    assert installed["name"] == name
    assert installed["url"] == url.replace("?set=a", "?…")
    launch = await stack.tenant("acme", system=True).call("launch", {"server": name})
    assert launch["url"] == url


@pytest.mark.covers("registry:remote-urls")
@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("https://user:pass@example.com/mcp", "credentials"),
        ("https://user@example.com/mcp", "credentials"),
        ("https://@example.com/mcp", "credentials"),
        ("https:///mcp", "host"),
        ("https://", "URL"),
        ("http://:80/mcp", "host"),
        ("http://example.com:0/mcp", "host"),
        ("http://example.com:99999/mcp", "URL"),
        ("http://exa mple.com/mcp", "ASCII"),
        ("http://example.com/\r\nHost: x", "ASCII"),
        ("http://éxample.com/mcp", "ASCII"),
        ("http://example.com\\@other.com/mcp", "ASCII"),
        ("https://example.com/mcp#part", "fragment"),
        ("http://[::1/mcp", "URL"),
        ("https://example.com/" + "x" * 2048, "2048"),
    ],
)
async def test_a_url_that_is_none_or_bears_credentials_is_refused(
    stack: Stack, adapter: Any, ref: str, why: str
) -> None:
    with pytest.raises(InvalidArguments, match=why):
        await stack.acme.call("plan", {"ref": ref, "name": "x"})
    assert adapter.probed == []


@pytest.mark.covers("registry:variables")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONSTARTUP", "NODE_OPTIONS", "PATH", "home", "a b", "X=Y", ""])
async def test_a_variable_that_would_take_over_the_process_is_refused(stack: Stack, name: str) -> None:
    for kind in ("config", "secrets"):
        with pytest.raises(InvalidArguments):
            await stack.acme.call("install", {"ref": "pypi:other", kind: {name: "x"}})


@pytest.mark.covers("registry:headers")
@pytest.mark.parametrize(
    "name",
    [
        "Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
        "Proxy-Authorization", "Content-Length", "content-type", "Accept", "MCP-Protocol-Version", "Mcp-Session-Id",
        "Mcp-Param-X", "Last-Event-ID", "a b", "a:b", "X\r\nY", "", "é",
    ],
)  # fmt: skip
async def test_a_header_of_the_connections_or_mcps_own_is_refused(stack: Stack, adapter: Any, name: str) -> None:
    for kind in ("config", "secrets"):
        with pytest.raises(InvalidArguments, match="header"):
            await stack.acme.call("install", {"ref": "https://example.com/mcp", kind: {name: "x"}})
    assert adapter.probed == []


@pytest.mark.covers("registry:headers")
@pytest.mark.parametrize(
    "given",
    [
        {"config": {"X-A": "a\r\nHost: b"}},
        {"config": {"X-A": "a\0"}},
        {"config": {"X-A": " a"}},
        {"config": {"X-A": "ñ"}},
        {"config": {"X-A": "1", "x-a": "2"}},
        {"config": {"X-A": "1"}, "secrets": {"x-a": "2"}},
        {"secrets": {"X-A": "x" * 20_000}},
        {"config": {f"X-{number}": "x" for number in range(65)}},
    ],
)
async def test_a_header_that_could_end_its_line_or_comes_twice_is_refused(
    stack: Stack, adapter: Any, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArguments, match="header"):
        await stack.acme.call("install", {"ref": "https://example.com/mcp", **given})
    assert adapter.probed == []
