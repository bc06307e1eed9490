"""The registry's tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from tausestack.changes import Changes
from tausestack.confidential import SECRET
from tausestack.contract import VERSION
from tausestack.errors import Conflict, InvalidArguments
from tausestack.mcp import Context, Server, Service
from tausestack.scopes import SERVERS_MANAGE, SYSTEM, TOOLS_READ
from tausestack_registry import changing, credentials, listing, shapes, store
from tausestack_registry.catalogue import bundled
from tausestack_registry.installer import LaunchSpec, launch_of, planned
from tausestack_registry.listing import OWN_KINDS, hash_of
from tausestack_registry.pins import LeftOut
from tausestack_registry.refs import FORMS, Reference, resolve
from tausestack_registry.settings import as_text, check_arguments, check_settings
from tausestack_registry.state import (
    State,
    find,
    installation,
    installations,
    present,
    state_of,
    third_party,
    tool_index,
)
from tausestack_registry.tables import SCHEMA

MAX_QUERY = 2000
"""Characters of a search: one process searches for every tenant, and megabytes of words would keep all waiting."""

Ref = Annotated[str, Field(description=f"What to install: {FORMS}.", examples=["colombia", "pypi:mcp-server-time"])]
Name = Annotated[str, Field(description="The installed server's name.", examples=["mcp-server-time"])]
AsName = Annotated[
    str | None, Field(description="What to call it here: a-z, 0-9 and '-'; else the last part of its own name.")
]
Settings = Annotated[
    dict[str, Any] | None,
    Field(description="Variables of the server's environment, or a remote one's HTTP headers, that are no secrets."),
]
Sealed = Annotated[
    dict[str, str] | None,
    Field(
        description="Variables of its environment, or a remote one's HTTP headers, that are secrets: kept sealed, "
        "never shown.",
        examples=[{"Authorization": "Bearer …"}],
        json_schema_extra=SECRET,
    ),
]
Words = Annotated[
    list[str] | None,
    Field(
        description="What a package's command is given, in place of what the catalogue says: words that everybody may "
        "see, since a command line hides nothing. ${folder} in one is the path of the folder that it may write.",
        examples=[["--db-path", "notes.db"]],
    ),
]
Changed = Annotated[
    dict[str, str | None] | None,
    Field(
        description="Secrets to set, over older ones of the same name, or with null to remove; the others stay.",
        examples=[{"TOKEN": "…"}],
        json_schema_extra=SECRET,
    ),
]
Default = Annotated[
    bool | None,
    Field(description="Whether it is the tenant's default: its tools keep their own names in the merged list."),
]


@asynccontextmanager
async def _lifespan(_: Service) -> AsyncGenerator[State]:
    """Load the catalogue."""
    yield State(bundled())


server = Server(
    "registry",
    version=VERSION,
    title="Registry",
    description="The catalogue of servers, what is installed, and the search over tools.",
    schema=SCHEMA,
    lifespan=_lifespan,
)


@server.tool("registry/search", title="Search the catalogue", side_effect="read", scopes=[TOOLS_READ])
async def search(
    ctx: Context,
    query: Annotated[
        str | None,
        Field(description="What the server should be able to do.", max_length=MAX_QUERY, examples=["time"]),
    ] = None,
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=100)] = 20,
) -> shapes.CatalogueServers:
    """Search the catalogue for servers that can be installed; without a query, list them all by name."""
    found = state_of(ctx).catalogue.search(query or "", limit)
    return shapes.CatalogueServers(servers=[shapes.entry_shape(entry) for entry in found])


@server.tool("registry/plan", title="Plan an installation", side_effect="read", scopes=[SERVERS_MANAGE])
async def plan(
    ctx: Context,
    ref: Ref,
    name: AsName = None,
    arguments: Words = None,
    config: Settings = None,
    secrets: Sealed = None,
) -> shapes.InstallationPlan:
    """Say what installing a server would bring (its tools, command and sandbox), and change nothing.

    A third party's package is fetched and started once, in the sandbox, to see its tools; a remote server is contacted
    once. Approve the plan by passing its hash to install.
    """
    reference, settings, sealed = _asked(ctx, ref, name, arguments, config, secrets)
    wanted = await planned(ctx.call, reference, settings, sealed)
    there = await find(ctx, reference.name)
    return shapes.plan_shape(wanted, installed=there is not None)


@server.tool(
    "registry/install",
    title="Install a server",
    side_effect="external",
    idempotent=True,
    scopes=[SERVERS_MANAGE],
    approval="agents",
)
async def install(
    ctx: Context,
    ref: Ref,
    name: AsName = None,
    arguments: Words = None,
    config: Settings = None,
    secrets: Sealed = None,
    default: Default = None,
    approve: Annotated[
        bool | str | None,
        Field(description="true: approve the tools as they are; a plan's hash: only if they are what it showed."),
    ] = None,
) -> shapes.Listed:
    """Install a server for this tenant; what is installed already is returned as it is.

    The tools of a third party's server stay quarantined until they are approved.
    """
    reference, settings, sealed = _asked(ctx, ref, name, arguments, config, secrets)
    if reference.own:
        await changing.add_own(ctx, reference, settings, sealed, default)
        return await present(ctx, reference.name)
    there = await find(ctx, reference.name)
    if there is None:
        async with ctx.reading() as db:  # before it is fetched; what counts is checked again where it is kept
            await changing.check_room(ctx, db)
        plan = await planned(ctx.call, reference, settings, sealed)
        await changing.add(ctx, plan, sealed, default=default, approve=approve)
    elif there["kind"] in OWN_KINDS:
        raise Conflict(f"{reference.name} is one of our own services here: choose another name")
    elif not await changing.is_of(ctx, reference):
        raise Conflict(f"{reference.name} is the name of another server here: choose one with `name`")
    elif approve and there["status"] == "quarantined":
        await changing.approve_tools(ctx, reference.name, approve)
    return await present(ctx, reference.name)


@server.tool(
    "registry/update",
    title="Update an installation",
    side_effect="write",
    idempotent=True,
    scopes=[SERVERS_MANAGE],
    approval="agents",
)
async def update(ctx: Context, name: Name, default: Default = None, secrets: Changed = None) -> shapes.Listed:
    """Change how a server is installed: its secrets, and whether it is the tenant's default, which at most one is."""
    there = await installation(ctx, name)
    if secrets:
        await changing.set_secrets(ctx, there, secrets)
    if default is not None:
        await changing.set_default(ctx, there, default)
    return await present(ctx, name)


@server.tool("registry/review", title="Review quarantined tools", side_effect="read", scopes=[SERVERS_MANAGE])
async def review(ctx: Context, name: Name) -> shapes.Review:
    """Show a third-party server's tools that wait for approval, whole, and the hash to approve them by."""
    async with ctx.database() as db:
        one = await third_party(db, name)
        tools = await store.pins_of(db, name)
    waiting = [pin.raw for pin in tools if pin.status != "active"]
    return shapes.Review(name=name, hash=hash_of(one, tools), tools=waiting)


@server.tool(
    "registry/approve",
    title="Approve a server's tools",
    side_effect="write",
    idempotent=True,
    scopes=[SERVERS_MANAGE],
    approval="agents",
)
async def approve(
    ctx: Context,
    name: Name,
    approve: Annotated[
        bool | str, Field(description="true: all as they are; a hash: only if they are what the review showed.")
    ] = True,
) -> shapes.Listed:
    """Approve a third-party server's tools that wait in quarantine."""
    if approve is False or approve == "":
        raise InvalidArguments("approve is true, or the hash that the review showed; what is not approved waits")
    await changing.approve_tools(ctx, name, approve)
    return await present(ctx, name)


@server.tool(
    "registry/uninstall",
    title="Uninstall a server",
    side_effect="write",
    idempotent=True,
    scopes=[SERVERS_MANAGE],
    approval="agents",
)
async def uninstall(
    ctx: Context,
    name: Name,
    purge: Annotated[bool, Field(description="Delete its data as well, where the server offers that.")] = False,
) -> shapes.Removed:
    """Uninstall a server: its tools are gone at once; a third party's settings, secrets and files go with it.

    One of our own services keeps its data.
    """
    there = await installation(ctx, name)
    if name in state_of(ctx).catalogue.always:
        raise Conflict(f"{name} belongs to every tenant and stays")
    if purge and there["kind"] in OWN_KINDS:
        raise InvalidArguments(f"{name} keeps its data: it offers no way to purge it yet", server=name)
    await changing.remove(ctx, there)
    return shapes.Removed(name=name, status="removed")


@server.tool("registry/list_installed", title="List installed servers", side_effect="read", scopes=[TOOLS_READ])
async def list_installed(ctx: Context) -> shapes.ListedServers:
    """List the servers that are installed for this tenant, with their tools and whether each is active."""
    return shapes.ListedServers(servers=[shapes.server_shape(one) for one in await installations(ctx)])


@server.tool("registry/find_tools", title="Search tools", side_effect="read", scopes=[TOOLS_READ])
async def find_tools(
    ctx: Context,
    query: Annotated[
        str,
        Field(
            description="What the tool should do, in Spanish or English.",
            max_length=MAX_QUERY,
            examples=["crear una factura"],
        ),
    ],
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=100)] = 10,
) -> shapes.FoundTools:
    """Find the installed tools that fit a request best, best first."""
    found = (await tool_index(ctx)).find(query, limit)
    return shapes.FoundTools(tools=[shapes.Found(address=hit.address, score=hit.score) for hit in found])


@server.tool("registry/changes", side_effect="read", scopes=[SYSTEM])
async def changes(ctx: Context, boot: str, epoch: int) -> Changes:
    """Say which tenants' installations changed since a follower last asked."""
    return state_of(ctx).feed.since(boot, epoch)


@server.tool("registry/snapshot", side_effect="read", scopes=[SYSTEM])
async def snapshot(ctx: Context, plan: str | None = None) -> shapes.Snapshot:
    """Return what the tenant has installed under a billing plan, with the raw tools."""
    state = state_of(ctx)
    async with ctx.database() as db:
        known = await store.fact(db, store.BILLING_PLAN)
        found = await listing.installations(db, state.catalogue, plan)
    if plan is not None and known != plan:
        # Kept, because whoever lists or searches later does not know the plan; nothing that a caller sees is changed.
        async with ctx.service.tenant_databases().transaction(ctx.tenant) as db:
            await store.keep_fact(db, store.BILLING_PLAN, plan)
        state.indexes.pop(ctx.tenant, None)
    return shapes.Snapshot(installations=found)


@server.tool("registry/launch", side_effect="read", scopes=[SYSTEM])
async def launch(ctx: Context, server: str) -> LaunchSpec:
    """Return how one of the tenant's third-party servers is started or reached, its secrets among it."""
    await credentials.bring_up_to_date(ctx)
    async with ctx.database() as db:
        one = await third_party(db, server)
        tools = await store.pins_of(db, server)
        opened = await credentials.opened(ctx, db, server)
    reference = Reference(one.ref, one.name, one.title, None, one.registry_type, one.identifier, one.version)
    spec = launch_of(reference, one.version, one.argv, one.store, one.config, opened, one.protocols)
    return {**spec, "files": one.files, "pins": {pin.name: pin.sha256 for pin in tools if pin.status == "active"}}


@server.tool("registry/observed", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def observed(
    ctx: Context, server: str, tools: list[dict[str, Any]], left_out: list[LeftOut] | None = None
) -> shapes.Observed:
    """Take note of the raw tools that a third-party server has now; what was not approved waits in quarantine.

    `left_out` are those that whoever saw them could not take. A tool that vanished is kept. Where nothing changed,
    nothing is written.
    """
    return shapes.observed_shape(await changing.observe(ctx, server, tools, left_out or []))


@server.tool("registry/offer", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def offer(ctx: Context, server: str, tools: list[dict[str, Any]], at: int) -> shapes.Offered:
    """Keep the tools that one of our services has for this tenant alone, as of a time in nanoseconds.

    What comes later than an offer of a later time changes nothing.
    """
    return shapes.Offered(kept=await changing.offer(ctx, server, tools, at))


@server.tool("registry/reveal", side_effect="read", scopes=[SYSTEM])
async def reveal(ctx: Context, server: str, names: list[str]) -> shapes.Revealed:
    """Return a server's secrets by name; those that are not there are left out."""
    await credentials.bring_up_to_date(ctx)
    async with ctx.database() as db:
        kept = await credentials.opened(ctx, db, server)
    return shapes.Revealed(secrets={name: kept[name] for name in names if name in kept})


def _asked(
    ctx: Context,
    ref: str,
    name: str | None,
    arguments: list[str] | None,
    config: Mapping[str, Any] | None,
    secrets: Mapping[str, str] | None,
) -> tuple[Reference, dict[str, str], Mapping[str, str]]:
    """Return what is to be installed, and its settings and secrets, or raise `InvalidArguments` or `NotFound`."""
    reference = resolve(state_of(ctx).catalogue, ref, name)
    if arguments:
        check_arguments(reference, arguments)
        reference = replace(reference, arguments=tuple(arguments))
    settings, sealed = as_text(config or {}), secrets or {}
    check_settings(reference, settings, sealed)
    return reference, settings, sealed


@server.tool("registry/limits_used", side_effect="read", scopes=[SYSTEM])
async def limits_used(ctx: Context) -> dict[str, int]:
    """Tell how much the tenant uses of the limits that are counted here."""
    async with ctx.reading() as db:
        return {"installed_servers": await store.count_chosen(db)}
