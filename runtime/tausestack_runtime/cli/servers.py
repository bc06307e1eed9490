"""A tenant's servers and tools: search, plan, install, update, approve, uninstall, servers, tools, call."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tausestack_runtime.cli.connection import Refusal, TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, cell, plain, show_fields, show_json, show_table

RefArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF",
        help="a name of the catalogue, pypi:package[==version], npm:package[@version] (npm:@scope/package too), or the "
        "URL of a remote server (https://host/path)",
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="the installed server's name")]
AsOption = Annotated[str | None, typer.Option("--as", help="the server's name in this tenant")]
ArgumentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="WORD",
        help="a word for a package's command, as often as it takes words: --arg=--db-path --arg=notes.db",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="K=V", help="a setting: a variable of its environment, or a remote one's HTTP header"
    ),
]
SecretOption = Annotated[
    list[str] | None, typer.Option("--secret", metavar="K=V", help="the same, but secret: sealed, and never shown")
]
THIRD_PARTIES = frozenset({"adapter", "remote"})
"""The kinds of servers that are not ours: these may be away."""
INSTALL_SECONDS = 300.0
"""An installation may have to download a package."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (search, plan, install, update, approve, uninstall, servers, tools, call):
        app.command()(command)


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY")], tenant: TenantOption, as_json: JsonOption = False
) -> None:
    """Search the marketplace for servers."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.call("registry/search", {"query": query})

    found = run(work())
    if as_json:
        show_json(found)
    else:
        show_table(found["servers"], ("name", "version", "description"), f"nothing in the catalogue matches '{query}'")


def plan(
    ref: RefArgument,
    tenant: TenantOption,
    name: AsOption = None,
    arguments: ArgumentOption = None,
    settings: SetOption = None,
    secrets: SecretOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what installing would do, and change nothing."""
    found = run(_plan(ref, tenant, name, arguments, _pairs("--set", settings), _pairs("--secret", secrets)))
    if as_json:
        show_json(found)
    else:
        _show_plan(found)


def install(
    ref: RefArgument,
    tenant: TenantOption,
    name: AsOption = None,
    arguments: ArgumentOption = None,
    settings: SetOption = None,
    secrets: SecretOption = None,
    default: Annotated[
        bool, typer.Option("--default", help="make it the tenant's default: its tools keep their own names")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="install without asking")] = False,
    as_json: JsonOption = False,
) -> None:
    """Install a server for a tenant, once what it would do was shown and approved."""
    config, sealed = _pairs("--set", settings), _pairs("--secret", secrets)
    approve: bool | str = True
    if not yes:
        approve = _ask(run(_plan(ref, tenant, name, arguments, config, sealed)), as_json)

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.install(
                ref,
                name=name,
                arguments=arguments,
                config=config or None,
                secrets=sealed or None,
                default=True if default else None,
                approve=approve,
                timeout=INSTALL_SECONDS,
            )

    made = run(work())
    _show_server(made, as_json)


def update(
    name: NameArgument,
    tenant: TenantOption,
    default: Annotated[
        bool | None,
        typer.Option("--default/--no-default", help="whether it is the tenant's default, which at most one server is"),
    ] = None,
    secrets: SecretOption = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove-secret", metavar="K", help="the name of a secret to remove")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change how a server is installed: its secrets, and whether it is the default."""
    changed: dict[str, str | None] = {**dict.fromkeys(remove or ()), **_pairs("--secret", secrets)}

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.update(name, default=default, secrets=changed or None)

    _show_server(run(work()), as_json)


def approve(
    name: NameArgument,
    tenant: TenantOption,
    review: Annotated[bool, typer.Option("--review", help="only show what waits, and its hash")] = False,
    reviewed: Annotated[
        str | None, typer.Option("--hash", help="approve only if it still is what was reviewed under this hash")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a server's quarantined tools."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            if review:
                return await client.call("registry/review", {"name": name})
            return await client.approve(name, reviewed or True)

    found = run(work())
    if not review or as_json:
        _show_server(found, as_json)
    else:
        print(f"{len(found['tools'])} tools of {name} wait for approval (hash {found['hash']})")
        for tool in found["tools"]:
            show_json(tool)


def uninstall(
    name: NameArgument,
    tenant: TenantOption,
    purge: Annotated[bool, typer.Option("--purge", help="delete its data too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Uninstall a server; one of our own keeps its data without --purge."""

    async def work() -> Any:
        async with tenant_client(tenant) as client:
            return await client.uninstall(name, purge=purge)

    done = run(work())
    if as_json:
        show_json(done)
    else:
        print(f"{name} is uninstalled")


def servers(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """List a tenant's installed servers, and which of the third parties' do not answer."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            found = await client.servers()
            others = [one["name"] for one in found if one.get("kind") in THIRD_PARTIES]
            shown = {one["name"]: one for one in await asyncio.gather(*map(client.server, others))}
            return [shown.get(one["name"], one) for one in found]

    found = run(work())
    if as_json:
        show_json({"servers": found})
    else:
        rows = [
            {**one, "default": "default" if one.get("default") else "", "health": _health(one.get("health"))}
            for one in found
        ]
        columns = ("name", "kind", "version", "status", "health", "default", "title", "url")
        show_table(rows, columns, "no servers are installed")


def tools(
    tenant: TenantOption,
    search: Annotated[str | None, typer.Option("--search", help="best first")] = None,
    as_json: JsonOption = False,
) -> None:
    """List a tenant's tools."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.tools(search)

    found = run(work())
    if as_json:
        show_json({"tools": found})
    else:
        show_table(found, ("address", "side_effect", "description"), "no tools are found")


def call(
    address: Annotated[str, typer.Argument(metavar="SERVER/TOOL")],
    tenant: TenantOption,
    args: Annotated[str, typer.Option(metavar="JSON", help="the arguments; @FILE reads a file, - stdin")] = "{}",
    key: Annotated[str | None, typer.Option(help="idempotency key: the same write happens once")] = None,
    approval: Annotated[str | None, typer.Option(help="the approval that the call waited for")] = None,
    as_json: JsonOption = False,
) -> None:
    """Call a tool and print its result."""
    arguments = json_object("--args", args)

    async def work() -> Any:
        async with tenant_client(tenant) as client:
            return await client.call(address, arguments, idempotency_key=key, approval=approval)

    found = run(work())
    if not as_json and isinstance(found, dict) and "content" in found and len(found) == 1:  # pyright: ignore[reportUnknownArgumentType] raw JSON
        _show_content(found["content"])  # pyright: ignore[reportUnknownArgumentType] raw JSON
    else:
        show_json(found)


def _show_content(parts: list[dict[str, Any]]) -> None:
    for part in parts:
        print(part["text"] if "text" in part else plain(part))


def json_object(option: str, text: str) -> dict[str, Any]:
    """Return the JSON object in an option's text, or raise `Refusal` that says what is wrong with it."""
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise Refusal(f"can't read {text[1:]}: {error.strerror}") from error
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise Refusal(f'{option} is no JSON ({error}): write it like \'{{"name": "value"}}\'') from error
    if not isinstance(found, dict):
        raise Refusal(f'{option} has to be a JSON object: write it like \'{{"name": "value"}}\'')
    return found  # pyright: ignore[reportUnknownVariableType] raw JSON


def _show_server(one: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(one)
        return
    default = ", the tenant's default," if one.get("default") else ""
    print(f"{one['name']}{default} is {one['status']} with {len(one['tools'])} tools")
    for tool in one["tools"]:
        print(f"  {one['name']}/{tool['name']}  {tool.get('status', '')}".rstrip())
    _show_left_out(one)


def _health(told: dict[str, Any] | None) -> str:
    """Return whether a third party's server answers, and why not; "" for one of ours."""
    if told is None:
        return ""
    reason = told.get("reason")
    state = "away" if told["state"] == "open" else "failing" if reason else "answers"
    return f"{state}: {reason}" if reason else state


async def _plan(
    ref: str,
    tenant: str,
    name: str | None,
    arguments: list[str] | None,
    config: dict[str, str],
    secrets: dict[str, str],
) -> dict[str, Any]:
    async with tenant_client(tenant) as client:
        return await client.plan(
            ref,
            name=name,
            arguments=arguments,
            config=config or None,
            secrets=secrets or None,
            timeout=INSTALL_SECONDS,
        )


def _show_plan(found: dict[str, Any]) -> None:
    tools: list[dict[str, Any]] = found.get("tools") or []
    show_fields({name: plain(value) for name, value in found.items() if name not in {"tools", "left_out"}})
    print(f"{len(tools)} tools:" if tools else "its tools are known once it was probed")
    for tool in tools:
        print(f"  {tool['name']}  {cell(tool.get('description'))}")
    _show_left_out(found)


def _show_left_out(found: dict[str, Any]) -> None:
    left_out: list[dict[str, Any]] = found.get("left_out") or []
    for one in left_out:
        print(f"  left out: {cell(one['name'])}: {cell(one['reason'])}")


def _ask(found: dict[str, Any], as_json: bool) -> bool | str:
    """Return what approves a plan that a person was shown."""
    if as_json or not sys.stdin.isatty():
        raise Refusal("nobody is there to approve: see 'tausestack plan', then add --yes")
    _show_plan(found)
    typer.confirm("install it?", abort=True)
    return str(found["hash"]) if found.get("hash") else True


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Refusal(f"{option} takes NAME=VALUE")
        found[name] = value
    return found
