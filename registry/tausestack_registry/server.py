"""The registry's tools."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from tausestack.changes import ChangeFeed, Changes
from tausestack.contract import VERSION
from tausestack.database import Connection
from tausestack.errors import Conflict, InvalidArguments, NotFound, TauseError
from tausestack.mcp import Context, Server, Service
from tausestack.scopes import SERVERS_MANAGE, SYSTEM, TOOLS_READ
from tausestack_registry import listing, shapes, store
from tausestack_registry.catalogue import Catalogue, bundled
from tausestack_registry.index import ToolIndex
from tausestack_registry.installer import LaunchSpec, Plan, approved, launch_of, planned
from tausestack_registry.listing import Installation
from tausestack_registry.refs import FORMS, Reference, check_variables, environment, resolve
from tausestack_registry.sealing import Sealer
from tausestack_registry.tables import SCHEMA

MAX_INDEXES = 256
"""How many tenants' search indexes are kept in memory."""

Ref = Annotated[str, Field(description=f"What to install: {FORMS}.", examples=["colombia", "pypi:mcp-server-time"])]
Name = Annotated[str, Field(description="The installed server's name.", examples=["mcp-server-time"])]
AsName = Annotated[
    str | None, Field(description="What to call it here: a-z, 0-9 and '-'; else the last part of its own name.")
]
Settings = Annotated[
    dict[str, Any] | None, Field(description="Variables of the server's environment that are no secrets.")
]
Sealed = Annotated[
    dict[str, str] | None, Field(description="Variables of its environment that are secrets: kept sealed, never shown.")
]


@dataclass
class State:
    """What the registry's process holds."""

    catalogue: Catalogue
    sealer: Sealer
    feed: ChangeFeed = field(default_factory=ChangeFeed)
    indexes: OrderedDict[str, ToolIndex] = field(default_factory=OrderedDict[str, ToolIndex])

    def changed(self, tenant: str) -> None:
        """Let followers know that a tenant's installations changed; call it after the commit, before the reply."""
        self.indexes.pop(tenant, None)
        self.feed.touch(tenant)


@asynccontextmanager
async def _lifespan(service: Service) -> AsyncGenerator[State]:
    """Load the catalogue and the key of the secrets."""
    yield State(bundled(), Sealer(service.env.keys.get("secrets")))


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
    query: Annotated[str | None, Field(description="What the server should be able to do.", examples=["time"])] = None,
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=100)] = 20,
) -> shapes.CatalogueServers:
    """Search the catalogue for servers that can be installed; without a query, list them all by name."""
    found = _state(ctx).catalogue.search(query or "", limit)
    return shapes.CatalogueServers(servers=[shapes.entry_shape(entry) for entry in found])


@server.tool("registry/plan", title="Plan an installation", side_effect="read", scopes=[SERVERS_MANAGE])
async def plan(ctx: Context, ref: Ref, name: AsName = None) -> shapes.InstallationPlan:
    """Say what installing a server would bring (its tools, command and sandbox), and change nothing.

    A third party's package is fetched and started once, in the sandbox, to see its tools. Approve the plan by passing
    its hash to install.
    """
    state = _state(ctx)
    reference = resolve(state.catalogue, ref, name)
    wanted = await planned(ctx.call, reference, {}, {})
    there = await _find(ctx, reference.name)
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
    config: Settings = None,
    secrets: Sealed = None,
    default: Annotated[
        bool | None, Field(description="Whether its tools also go by their own names in the merged list.")
    ] = None,
    approve: Annotated[
        bool | str | None,
        Field(description="true: approve the tools as they are; a plan's hash: only if they are what it showed."),
    ] = None,
) -> shapes.Listed:
    """Install a server for this tenant; what is installed already is returned as it is.

    The tools of a third party's server stay quarantined until they are approved.
    """
    state = _state(ctx)
    reference = resolve(state.catalogue, ref, name)
    env, sealed = environment(config or {}), secrets or {}
    check_variables(env, sealed)
    if reference.own:
        return await _install_own(ctx, reference, env, sealed, default)
    there = await _find(ctx, reference.name)
    if there is None:
        wanted = await planned(ctx.call, reference, env, sealed)
        tools = approved(wanted, approve)
        async with ctx.database() as db:
            if await store.find_installed(db, reference.name) is None:
                if default:
                    await store.clear_default(db)
                await store.add_installed(db, _row(wanted, env, default=bool(default)), tools)
                await _keep_secrets(ctx, db, reference.name, sealed)
    elif there["kind"] != "adapter":
        raise Conflict(f"{reference.name} is one of our own services here: choose another name")
    elif approve and there["status"] == "quarantined":
        await _approve(ctx, reference, approve)
    else:
        return shapes.server_shape(there)
    state.changed(ctx.tenant)
    return await _present(ctx, reference.name)


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
    """Uninstall a server: its tools are gone at once; a third party's settings and secrets go with it.

    One of our own services keeps its data.
    """
    state = _state(ctx)
    there = await _find(ctx, name)
    if there is None:
        raise NotFound(f"'{name[:80]}' is not installed")
    if name in state.catalogue.always:
        raise Conflict(f"{name} belongs to every tenant and stays")
    own = there["kind"] != "adapter"
    if own and purge:
        raise InvalidArguments(f"{name} keeps its data: it offers no way to purge it yet", server=name)
    async with ctx.database() as db:
        if own:
            await store.choose(db, name, "removed", is_default=False)
            await store.remove_secrets(db, name)
        else:
            await store.remove_installed(db, name)
    state.changed(ctx.tenant)
    if not own:
        try:
            await ctx.call("adapter/stop", {"name": name})
        except TauseError as error:
            ctx.logger.warning("its process will end when it is idle", server=name, error=error.message)
    return shapes.Removed(name=name, status="removed")


@server.tool("registry/list_installed", title="List installed servers", side_effect="read", scopes=[TOOLS_READ])
async def list_installed(ctx: Context) -> shapes.ListedServers:
    """List the servers that are installed for this tenant, with their tools and whether each is active."""
    return shapes.ListedServers(servers=[shapes.server_shape(one) for one in await _installations(ctx)])


@server.tool("registry/find_tools", title="Search tools", side_effect="read", scopes=[TOOLS_READ])
async def find_tools(
    ctx: Context,
    query: Annotated[
        str,
        Field(description="What the tool should do, in Spanish or English.", examples=["crear una factura"]),
    ],
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=100)] = 10,
) -> shapes.FoundTools:
    """Find the installed tools that fit a request best, best first."""
    found = (await _index(ctx)).find(query, limit)
    return shapes.FoundTools(tools=[shapes.Found(address=hit.address, score=hit.score) for hit in found])


@server.tool("registry/changes", side_effect="read", scopes=[SYSTEM])
async def changes(ctx: Context, boot: str, epoch: int) -> Changes:
    """Say which tenants' installations changed since a follower last asked."""
    return _state(ctx).feed.since(boot, epoch)


@server.tool("registry/snapshot", side_effect="read", scopes=[SYSTEM])
async def snapshot(ctx: Context, plan: str | None = None) -> shapes.Snapshot:
    """Return what the tenant has installed under a billing plan, with the raw tools."""
    state = _state(ctx)
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
    """Return how one of the tenant's third-party servers is started, its secrets among it."""
    state = _state(ctx)
    async with ctx.database() as db:
        one = await store.find_installed(db, server)
        if one is None:
            raise NotFound(f"'{server[:80]}' is not installed")
        tools = await store.pins_of(db, server)
        kept = await store.secrets_of(db, server)
    reference = Reference(one.ref, one.name, one.title, None, one.registry_type, one.identifier, one.version)
    opened = state.sealer.open_all(kept, tenant=ctx.tenant, server=server)
    spec = launch_of(reference, one.version, one.argv, one.store, one.config, opened)
    return {**spec, "pins": {pin.name: pin.sha256 for pin in tools if pin.status == "active"}}


@server.tool("registry/reveal", side_effect="read", scopes=[SYSTEM])
async def reveal(ctx: Context, server: str, names: list[str]) -> shapes.Revealed:
    """Return a server's secrets by name; those that are not there are left out."""
    async with ctx.database() as db:
        kept = await store.secrets_of(db, server)
    wanted = {name: kept[name] for name in names if name in kept}
    return shapes.Revealed(secrets=_state(ctx).sealer.open_all(wanted, tenant=ctx.tenant, server=server))


async def _install_own(
    ctx: Context, reference: Reference, env: Mapping[str, str], sealed: Mapping[str, str], default: bool | None
) -> shapes.Listed:
    if env:
        raise InvalidArguments(f"{reference.name} is one of our own services: it takes secrets, no other settings")
    there = await _find(ctx, reference.name)
    if there is not None and default in {None, there["default"]} and not sealed:
        return shapes.server_shape(there)
    async with ctx.database() as db:
        if default:
            await store.clear_default(db)
        is_default = there["default"] if there is not None and default is None else bool(default)
        await store.choose(db, reference.name, "installed", is_default=is_default)
        await _keep_secrets(ctx, db, reference.name, sealed)
    _state(ctx).changed(ctx.tenant)
    return await _present(ctx, reference.name)


async def _keep_secrets(ctx: Context, db: Connection, server: str, values: Mapping[str, str]) -> None:
    sealed = _state(ctx).sealer.seal_all(values, tenant=ctx.tenant, server=server)
    await store.keep_secrets(db, server, sealed)


async def _approve(ctx: Context, reference: Reference, approve: bool | str) -> None:
    """Approve what waits in quarantine; with a hash, only if it is the plan's."""
    if isinstance(approve, str):
        approved(await planned(ctx.call, reference, {}, {}), approve)
    async with ctx.database() as db:
        await store.activate(db, reference.name)
    await ctx.call("adapter/stop", {"name": reference.name})  # so that it learns the new pins


def _state(ctx: Context) -> State:
    state: State = ctx.state
    return state


async def _installations(ctx: Context) -> list[Installation]:
    async with ctx.database() as db:
        plan = await store.fact(db, store.BILLING_PLAN)
        return await listing.installations(db, _state(ctx).catalogue, plan)


async def _index(ctx: Context) -> ToolIndex:
    """Return the index over the tenant's active tools, which is built anew after each change."""
    state = _state(ctx)
    index = state.indexes.get(ctx.tenant)
    if index is not None:
        state.indexes.move_to_end(ctx.tenant)
        return index
    epoch = state.feed.since("", 0)["epoch"]
    index = ToolIndex(
        (one["name"], one["title"], tool)
        for one in await _installations(ctx)
        for tool in one["tools"]
        if tool["status"] == "active" and listing.visible(tool)
    )
    # What changed while it was built is not in it: the next search builds it anew.
    if state.feed.since("", 0)["epoch"] == epoch:
        state.indexes[ctx.tenant] = index
        while len(state.indexes) > MAX_INDEXES:
            state.indexes.popitem(last=False)
    return index


async def _find(ctx: Context, name: str) -> Installation | None:
    return next((one for one in await _installations(ctx) if one["name"] == name), None)


async def _present(ctx: Context, name: str) -> shapes.Listed:
    there = await _find(ctx, name)
    if there is None:
        raise Conflict(f"{name} was uninstalled in the meantime")
    return shapes.server_shape(there)


def _row(wanted: Plan, env: dict[str, str], *, default: bool) -> store.Installed:
    reference = wanted.reference
    return store.Installed(
        name=reference.name,
        ref=reference.ref,
        title=reference.title,
        registry_type=reference.registry_type,
        identifier=reference.identifier,
        version=wanted.version,
        argv=wanted.argv,
        store=wanted.store,
        config=env,
        is_default=default,
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
