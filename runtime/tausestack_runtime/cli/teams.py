"""`tausestack team …`: a tenant's teams of agents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tausestack_runtime.cli.agents import DEFAULT_WAIT, finish, spec_in
from tausestack_runtime.cli.connection import TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, show_json, show_table

if TYPE_CHECKING:
    from tausestack.client import Run

team_app = typer.Typer(help="Teams of agents: list, save, preset, run, delete.", rich_markup_mode=None)

TeamArgument = Annotated[str, typer.Argument(metavar="TEAM", help="the team's name")]


@team_app.command("list")
def list_teams(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """List the teams, and the presets that there are."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.agents.teams()

    found = run(work())
    if as_json:
        show_json(found)
        return
    rows = [{**team, "agents": ", ".join(team["agents"])} for team in found["teams"]]
    show_table(rows, ("name", "title", "agents"), "there are no teams")
    print(f"presets: {', '.join(found['presets'])}")


@team_app.command("save")
def save_team(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a YAML, JSON or TOML file (docs/agents.md)")],
    tenant: TenantOption,
    as_json: JsonOption = False,
) -> None:
    """Save a version of a team."""
    team = spec_in(file)

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.agents.save_team(team)

    _saved(run(work()), as_json)


@team_app.command("preset")
def save_preset(
    preset: Annotated[str, typer.Argument(metavar="PRESET")], tenant: TenantOption, as_json: JsonOption = False
) -> None:
    """Save a team that comes ready, with its agents."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.agents.save_preset(preset)

    _saved(run(work()), as_json)


@team_app.command("run")
def run_team(
    team: TeamArgument,
    message: Annotated[str, typer.Argument(metavar="MESSAGE")],
    tenant: TenantOption,
    thread: Annotated[str | None, typer.Option(help="go on with this thread")] = None,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for it to settle")] = DEFAULT_WAIT,
    as_json: JsonOption = False,
) -> None:
    """Run a team on a message, and show what it did."""

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            return await client.agents.run_team(team, message, thread=thread, wait=wait)

    finish(run(work()), tenant, as_json)


@team_app.command("delete")
def delete_team(team: TeamArgument, tenant: TenantOption) -> None:
    """Delete a team; its agents stay."""

    async def work() -> None:
        async with tenant_client(tenant) as client:
            await client.agents.delete_team(team)

    run(work())
    print(f"{team} is deleted")


def _saved(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        print(f"{found['name']}: version {found['version']}{'' if found['new'] else ', as it was'}")
