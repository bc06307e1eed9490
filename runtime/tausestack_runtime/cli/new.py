"""`tausestack new`: scaffolds that run, and pass the test that they come with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tausestack_runtime.cli.connection import Refusal
from tausestack_runtime.cli.output import JsonOption, show_json
from tausestack_runtime.scaffolds import Kind

BUILT_IN = frozenset({"billing", "concierge"})
"""Agents that everybody has: nobody can save one of their name."""
new_app = typer.Typer(name="new", help="Begin an agent, a server or a plugin.", no_args_is_help=True)


@new_app.callback()
def _commands() -> None:
    """Begin something: files that run as they are, to be changed."""


@new_app.command("agent")
def new_agent(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the agent's name, and its folder's")],
    code: Annotated[bool, typer.Option("--code", help="in Python: a LangGraph graph of one's own")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an agent with its cases into a new folder: as data, or in code."""
    _write("agent_in_code" if code else "agent", name, as_json)


@new_app.command("server")
def new_server(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the server's name, and its folder's")],
    as_json: JsonOption = False,
) -> None:
    """Write an MCP server with its test into a new folder: tools over a tenant's own database."""
    _write("server", name, as_json)


@new_app.command("plugin")
def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the plugin's name, and its package's and folder's")],
    as_json: JsonOption = False,
) -> None:
    """Write an MCP server in a package of its own, for anybody to install, with its test into a new folder."""
    _write("plugin", name, as_json)


def _write(kind: Kind, name: str, as_json: bool) -> None:
    from tausestack.agents.spec import NAME_PATTERN
    from tausestack_runtime import scaffolds

    if re.fullmatch(NAME_PATTERN, name) is None:
        what = "an agent's" if kind.startswith("agent") else f"a {kind}'s"
        raise Refusal(f"'{name}' can't be {what} name: it has small letters, digits and hyphens, 40 at most")
    if kind.startswith("agent") and name in BUILT_IN:
        raise Refusal(f"'{name}' is built in, and means the same everywhere: name yours otherwise")
    folder = Path(name)
    try:
        files = scaffolds.write(kind, name, folder)
    except FileExistsError as error:
        raise Refusal(f"{folder} is there already: nothing was written") from error
    except OSError as error:
        raise Refusal(f"{folder} can't be written: {error.strerror}") from error
    if as_json:
        show_json({"name": name, "files": [str(file) for file in files]})
        return
    for file in files:
        print(file)
    print(f"{folder / 'README.md'} says how it is run and tested")
