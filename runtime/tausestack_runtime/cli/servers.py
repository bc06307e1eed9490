"""A tenant's servers and tools: search, plan, install, uninstall, servers, tools, call."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tausestack_runtime.cli.connection import Refusal, TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, cell, plain, show_fields, show_json, show_table

RefArgument = Annotated[str, typer.Argument(metavar="REF", help="a name of the catalogue, or pypi:package[==version]")]
AsOption = Annotated[str | None, typer.Option("--as", help="the server's name in this tenant")]
INSTALL_SECONDS = 300.0
"""An installation may have to download a package."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (search, plan, install, uninstall, servers, tools, call):
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


def plan(ref: RefArgument, tenant: TenantOption, name: AsOption = None, as_json: JsonOption = False) -> None:
    """Show what installing would do, and change nothing."""
    found = run(_plan(ref, tenant, name))
    if as_json:
        show_json(found)
    else:
        _show_plan(found)


def install(
    ref: RefArgument,
    tenant: TenantOption,
    name: AsOption = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="a setting of the server")] = None,
    secrets: Annotated[list[str] | None, typer.Option("--secret", metavar="K=V", help="a secret of the server")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="install without asking")] = False,
    as_json: JsonOption = False,
) -> None:
    """Install a server for a tenant, once what it would do was shown and approved."""
    config, sealed = _pairs("--set", settings), _pairs("--secret", secrets)
    approve: bool | str = True
    if not yes:
        approve = _ask(run(_plan(ref, tenant, name)), as_json)

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.install(
                ref,
                name=name,
                config=config or None,
                secrets=sealed or None,
                approve=approve,
                timeout=INSTALL_SECONDS,
            )

    made = run(work())
    if as_json:
        show_json(made)
    else:
        print(f"{made['name']} is {made['status']} with {len(made['tools'])} tools")
        for tool in made["tools"]:
            print(f"  {made['name']}/{tool['name']}  {tool.get('status', '')}".rstrip())


def uninstall(
    name: Annotated[str, typer.Argument(metavar="NAME")],
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
    """List a tenant's installed servers."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.servers()

    found = run(work())
    if as_json:
        show_json({"servers": found})
    else:
        show_table(found, ("name", "kind", "version", "status", "title"), "no servers are installed")


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


async def _plan(ref: str, tenant: str, name: str | None) -> dict[str, Any]:
    async with tenant_client(tenant) as client:
        return await client.plan(ref, name=name)


def _show_plan(found: dict[str, Any]) -> None:
    tools: list[dict[str, Any]] = found.get("tools") or []
    show_fields({name: plain(value) for name, value in found.items() if name != "tools"})
    print(f"{len(tools)} tools:" if tools else "its tools are known once it was probed")
    for tool in tools:
        print(f"  {tool['name']}  {cell(tool.get('description'))}")


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
