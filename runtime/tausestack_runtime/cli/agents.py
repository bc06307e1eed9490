"""`tausestack agent …`: a tenant's agents and their runs."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tausestack.agents.reading import read
from tausestack_runtime.cli.connection import Refusal, TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, plain, show_json, show_table
from tausestack_runtime.cli.servers import json_object

if TYPE_CHECKING:
    from tausestack.client import Run

agent_app = typer.Typer(
    help="Agents: list, run, show, events, resume, pause, cancel, fork, replay.", rich_markup_mode=None
)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="the run's id")]
DEFAULT_WAIT = 120.0


@agent_app.command("list")
def list_agents(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """List the agents that can be run."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.agents.specs()

    found = run(work())
    if as_json:
        show_json({"agents": found})
    else:
        show_table(found, ("name", "title", "description"), "there are no agents")


@agent_app.command("get")
def get_agent(
    agent: Annotated[str, typer.Argument(metavar="AGENT")], tenant: TenantOption, as_json: JsonOption = False
) -> None:
    """Show an agent, all of it, as JSON that 'save' takes."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.agents.spec(agent)

    found = run(work())
    show_json(found if as_json else found["spec"])


@agent_app.command("save")
def save_agent(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a YAML, JSON or TOML file (docs/agents.md)")],
    tenant: TenantOption,
    as_json: JsonOption = False,
) -> None:
    """Save a version of an agent of the tenant's own."""
    spec = spec_in(file)

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.agents.save(spec)

    found = run(work())
    if as_json:
        show_json(found)
        return
    print(f"{found['name']}: version {found['version']}{'' if found['new'] else ', as it was'}")
    for warning in found["warnings"]:
        print(f"look at {warning}")


@agent_app.command("delete")
def delete_agent(agent: Annotated[str, typer.Argument(metavar="AGENT")], tenant: TenantOption) -> None:
    """Delete an agent of the tenant's own; runs that are under way go on."""

    async def work() -> None:
        async with tenant_client(tenant) as client:
            await client.agents.delete(agent)

    run(work())
    print(f"{agent} is deleted")


@agent_app.command("allow")
def allow_tools(
    tenant: TenantOption,
    tools: Annotated[list[str] | None, typer.Argument(metavar="[PATTERN]…", help="such as web-search/*")] = None,
    as_json: JsonOption = False,
) -> None:
    """Name all tools that built-in agents call without asking a person; with none they ask about all again.

    They ask before a tool that acts outside, or whose server does not say that it only reads.
    """

    async def work() -> list[str]:
        async with tenant_client(tenant) as client:
            return await client.agents.allow_tools(tools or [])

    found = run(work())
    if as_json:
        show_json({"tools": found})
    else:
        print(f"built-in agents don't ask about: {', '.join(found)}" if found else "built-in agents ask about all")


def spec_in(file: Path) -> dict[str, Any]:
    """Return the object that a file holds."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{file} can't be read: {error}") from error
    return read(text, file.name)


@agent_app.command("run")
def run_agent(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    message: Annotated[str, typer.Argument(metavar="MESSAGE")],
    tenant: TenantOption,
    thread: Annotated[str | None, typer.Option(help="go on with this thread")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="JSON", help="the most it may use, such as '{\"tokens\": 20000}'")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for it to settle")] = DEFAULT_WAIT,
    message_id: Annotated[
        str | None, typer.Option(metavar="ID", help="the message's id: in its thread it is handled once")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run an agent on a message, and show what it did."""
    bounds = None if budget is None else json_object("--budget", budget)

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            return await client.agents.run(agent, message, thread=thread, budget=bounds, wait=wait, message=message_id)

    finish(run(work()), tenant, as_json)


@agent_app.command("show")
def show_agent_run(run_id: RunArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Show a run as it stands."""

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            return await client.agents.get(run_id)

    found = run(work())
    if as_json:
        show_json(found.model_dump(mode="json", exclude_none=True))
    else:
        show_run(found, tenant)


@agent_app.command("events")
def follow_events(
    run_id: RunArgument,
    tenant: TenantOption,
    after: Annotated[str | None, typer.Option(metavar="N", help="only those after this one")] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a run's events until it ended, or waits for a person; with --json a line for each."""

    async def work() -> None:
        async with tenant_client(tenant) as client, aclosing(client.agents.events(run_id, after=after)) as events:
            async for event in events:
                told: dict[str, Any] = {"id": event.id, "kind": event.kind, **event.content}
                if as_json:
                    print(json.dumps(told, ensure_ascii=False), flush=True)
                else:
                    rest = {name: each for name, each in event.content.items() if name not in {"run", "at"}}
                    print(f"{event.id:>4} {event.kind:<12} {plain(rest)}", flush=True)
                if event.status == "interrupted" and (await client.agents.get(run_id)).settled:
                    return

    run(work())


@agent_app.command("resume")
def resume(
    run_id: RunArgument,
    tenant: TenantOption,
    decision: Annotated[
        str | None, typer.Option(metavar="JSON", help="such as '{\"approve\": true}'; a pause needs none")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for it to settle")] = DEFAULT_WAIT,
    as_json: JsonOption = False,
) -> None:
    """Let an interrupted run go on with a decision."""
    decided = None if decision is None else json_object("--decision", decision)

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            return await client.agents.resume(run_id, decided, wait=wait)

    finish(run(work()), tenant, as_json)


@agent_app.command("cancel")
def cancel(run_id: RunArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Stop a run; what it has done already stays done."""

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            return await client.agents.cancel(run_id)

    found = run(work())
    if as_json:
        show_json(found.model_dump(mode="json", exclude_none=True))
    else:
        print(f"{found.id} is {found.status}")


@agent_app.command("pause")
def pause(run_id: RunArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Stop a run before its next call; resume lets it go on."""

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            return await client.agents.pause(run_id)

    finish(run(work()), tenant, as_json)


@agent_app.command("fork")
def fork(
    run_id: RunArgument,
    tenant: TenantOption,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="CALL", help="a `call` of its events: what came before it is kept")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for it to settle")] = DEFAULT_WAIT,
    as_json: JsonOption = False,
) -> None:
    """Start a run that keeps what another did before a checkpoint, and does the rest anew."""

    async def work() -> Run:
        async with tenant_client(tenant) as client:
            forked = await client.agents.fork(run_id, checkpoint)
            return await client.agents.wait(forked.id, timeout=wait) if wait else forked

    finish(run(work()), tenant, as_json)


@agent_app.command("replay")
def replay(run_id: RunArgument, tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Go through a run by its journal alone, calling nothing; fail where it goes another way than it did."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.agents.replay(run_id)

    found = run(work())
    if as_json:
        show_json(found)
        return
    for number, step in enumerate(found["steps"], 1):
        print(f"  {number}. {step['address']} {plain(step['arguments'])}: {step['status']}")
    print(plain(found["output"]))


def show_run(found: Run, tenant: str) -> None:
    """Print a run: its steps, its answer, and what to do when it waits."""
    print(f"run {found.id} of {found.agent}: {found.status}")
    for number, step in enumerate(found.steps, 1):
        print(f"  {number}. {step.address} {plain(step.arguments)}: {step.status}")
    if found.interrupt is not None and found.status == "interrupted":
        waiting = found.interrupt
        subject = f" of {waiting.server}/{waiting.tool} {plain(waiting.arguments)}" if waiting.tool else ""
        if waiting.kind == "pause":
            print(f"it is paused; let it go on with:\n  tausestack agent resume {found.id} --tenant {tenant}")
            return
        if waiting.kind == "input":
            print(f"it waits for an answer to: {plain(waiting.message)}")
            decision = '{"input": "…"}'
        else:
            print(f"it waits for an {waiting.kind}{subject}; decide with:")
            decision = '{"approve": true}'
        print(f"  tausestack agent resume {found.id} --tenant {tenant} --decision '{decision}'")
    if found.output:
        print(plain(found.output))
    if found.error:
        print(f"error: {plain(found.error)}")
    if found.cost:
        print("cost: " + ", ".join(f"{name} {plain(value)}" for name, value in found.cost.items()))


def finish(found: Run, tenant: str, as_json: bool) -> None:
    """Print a run, and fail unless it succeeded or waits for a person."""
    if as_json:
        show_json(found.model_dump(mode="json", exclude_none=True))
    else:
        show_run(found, tenant)
    if found.status in {"error", "timeout", "cancelled"}:
        raise typer.Exit(1)
