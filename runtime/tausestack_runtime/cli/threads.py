"""`tausestack thread …`: the conversations that runs go on with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tausestack_runtime.cli.connection import Refusal, TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, plain, show_json, show_table

thread_app = typer.Typer(help="Threads: list, show, delete, prune.", rich_markup_mode=None)

ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="the thread's id")]
LimitOption = Annotated[int, typer.Option(min=1, max=200, help="at most so many")]
BeforeOption = Annotated[str | None, typer.Option(metavar="TIME", help="only those older than this")]


@thread_app.command("list")
def list_threads(
    tenant: TenantOption, limit: LimitOption = 50, before: BeforeOption = None, as_json: JsonOption = False
) -> None:
    """List the threads, the one with the newest turn first."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.threads.list(limit=limit, before=before)

    found = run(work())
    if as_json:
        show_json({"threads": found})
    else:
        show_table(found, ("id", "agent", "status", "turns", "updated_at"), "there are no threads")


@thread_app.command("show")
def show_thread(
    thread: ThreadArgument,
    tenant: TenantOption,
    limit: LimitOption = 50,
    before: BeforeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a thread's newest turns, and the summary of the earlier ones."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.threads.get(thread, limit=limit, before=before)

    found = run(work())
    if as_json:
        show_json(found)
        return
    if found["summary"]:
        print(f"earlier: {found['summary']}")
    for turn in found["turns"]:
        print(f"[{turn['created_at'][:19]} {turn['run']} {turn['status']}]\n> {turn['input']}\n{plain(turn['output'])}")


@thread_app.command("delete")
def delete_thread(
    thread: ThreadArgument,
    tenant: TenantOption,
    yes: Annotated[bool, typer.Option("--yes", help="it can't be undone: say that it is meant")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a thread with its runs, for good."""
    if not yes:
        raise Refusal("nothing was deleted: it can't be undone, and --yes says that it is meant")

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.threads.delete(thread)

    found = run(work())
    if as_json:
        show_json(found)
    else:
        print(f"{thread} is deleted, with {found['runs']} runs")


@thread_app.command("prune")
def prune(
    tenant: TenantOption,
    days: Annotated[float, typer.Option(min=0, help="delete threads that have been idle for so long")],
    as_json: JsonOption = False,
) -> None:
    """Delete the threads that have been idle for some days."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.threads.prune(days)

    found = run(work())
    if as_json:
        show_json(found)
    else:
        print(f"deleted {found['threads']} threads with {found['runs']} runs")
