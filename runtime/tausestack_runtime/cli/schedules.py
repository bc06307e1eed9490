"""`tausestack schedule …`: agents that are run again and again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from tausestack_runtime.cli.connection import TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, show_fields, show_json, show_table

schedule_app = typer.Typer(help="Schedules: list, show, save, delete.", rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="the schedule's name")]


@schedule_app.command("list")
def list_schedules(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """List the schedules, and when each ticks next."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.schedules.list()

    found = run(work())
    if as_json:
        show_json({"schedules": found})
    else:
        columns = ("name", "agent", "cron", "timezone", "enabled", "next_at", "last_run", "last_error")
        show_table(found, columns, "there are no schedules")


@schedule_app.command("show")
def show_schedule(name: NameArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Show a schedule."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.schedules.get(name)

    _show(run(work()), as_json)


@schedule_app.command("save")
def save_schedule(
    name: NameArgument,
    tenant: TenantOption,
    agent: Annotated[str | None, typer.Option(help="the agent to run")] = None,
    message: Annotated[str | None, typer.Option(help="what it is asked each time")] = None,
    cron: Annotated[str | None, typer.Option(help="such as '0 9 * * 1-5'")] = None,
    timezone: Annotated[str | None, typer.Option(help="such as America/Bogota; UTC unless said")] = None,
    thread: Annotated[str | None, typer.Option(help="go on with this thread each time")] = None,
    missed: Annotated[
        Literal["once", "skip"] | None, typer.Option(help="one run for all missed ticks together, or none")
    ] = None,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled", help="whether it ticks")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a schedule, or change what is given of it."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.schedules.save(
                name,
                agent=agent,
                input=message,
                cron=cron,
                timezone=timezone,
                thread=thread,
                missed=missed,
                enabled=enabled,
            )

    _show(run(work()), as_json)


@schedule_app.command("delete")
def delete_schedule(name: NameArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Delete a schedule; the runs that it started stay."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.schedules.delete(name)

    found = run(work())
    if as_json:
        show_json(found)
    else:
        print(f"{name} is deleted")


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show_fields(found)
