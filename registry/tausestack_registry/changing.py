"""What changes a tenant's installations: kept whole in one transaction, and published after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from tausestack.database import Connection
from tausestack.errors import InvalidArguments, TauseError, UpstreamError
from tausestack.mcp import Context
from tausestack_registry import credentials, store
from tausestack_registry.installer import Plan, approved, check_hash
from tausestack_registry.listing import OFFERING, OWN_KINDS, Installation, hash_of
from tausestack_registry.offers import offered
from tausestack_registry.pins import MAX_TOOLS, Difference, Pin, difference, digest, pinned
from tausestack_registry.refs import Reference
from tausestack_registry.settings import check_given
from tausestack_registry.state import find, state_of, third_party

MAX_KEPT = 2 * MAX_TOOLS
"""How many tools are kept of a server, those that vanished among them."""


async def add(
    ctx: Context, plan: Plan, secrets: Mapping[str, str], *, default: bool | None, approve: bool | str | None
) -> None:
    """Install a third party's server as it was planned; one that was installed in the meantime stays as it is."""
    name, tools = plan.reference.name, approved(plan, approve)
    async with ctx.database() as db:
        if await store.find_installed(db, name) is None:
            await check_room(ctx, db)
            if default:
                await store.clear_default(db)
            await store.add_installed(db, _row(plan, default=bool(default)), tools)
            await credentials.keep(ctx, db, name, secrets)
    state_of(ctx).changed(ctx.tenant)


async def add_own(
    ctx: Context, reference: Reference, settings: Mapping[str, str], secrets: Mapping[str, str], default: bool | None
) -> None:
    """Install one of our own services; nothing changes where it is there already as it is asked for."""
    if settings:
        raise InvalidArguments(f"{reference.name} is one of our own services: it takes secrets, no other settings")
    there = await find(ctx, reference.name)
    if there is not None and default in {None, there["default"]} and not secrets:
        return
    async with ctx.database() as db:
        chosen = (await store.choices(db)).get(reference.name)
        if there is None and (chosen is None or chosen.state != "installed"):
            await check_room(ctx, db)
        if default:
            await store.clear_default(db)
        is_default = there["default"] if there is not None and default is None else bool(default)
        await store.choose(db, reference.name, "installed", is_default=is_default)
        await credentials.keep(ctx, db, reference.name, secrets)
    state_of(ctx).changed(ctx.tenant)


async def is_of(ctx: Context, reference: Reference) -> bool:
    """Whether the third party's server of that name is what is referred to, in whichever version."""
    async with ctx.database() as db:
        one = await third_party(db, reference.name)
    wanted = reference.registry_type, reference.identifier
    return one.ref == reference.ref or (one.registry_type, one.identifier) == wanted


async def check_room(ctx: Context, db: Connection) -> None:
    """Raise `RateLimited` where the tenant may have no more servers."""
    ctx.check_limit("installed_servers", "servers that it installed itself", await store.count_chosen(db))


async def remove(ctx: Context, there: Installation) -> None:
    """Uninstall a server; a third party's settings, secrets, files and process go with it."""
    name, own = there["name"], there["kind"] in OWN_KINDS
    async with ctx.database() as db:
        if own:
            await store.choose(db, name, "removed", is_default=False)
            await store.remove_secrets(db, name)
        else:
            await store.remove_installed(db, name)
    state_of(ctx).changed(ctx.tenant)
    if not own:
        await _forget(ctx, name, purge=True)


async def set_default(ctx: Context, there: Installation, default: bool) -> None:
    """Let a server be the tenant's default, or not be it."""
    if default == there["default"]:
        return
    async with ctx.database() as db:
        await store.set_default(db, there["name"], own=there["kind"] in OWN_KINDS, is_default=default)
    state_of(ctx).changed(ctx.tenant)


async def set_secrets(ctx: Context, there: Installation, values: Mapping[str, str | None]) -> None:
    """Keep a server's secrets over older ones, and remove those that are None; a third party's process begins anew."""
    name, own = there["name"], there["kind"] in OWN_KINDS
    async with ctx.database() as db:
        one = None if own else await third_party(db, name)
        wanted = {**await credentials.opened(ctx, db, name), **values}
        left = {secret: value for secret, value in wanted.items() if value is not None}
        check_given({} if one is None else one.config, left, remote=one is not None and one.url is not None)
        await credentials.keep(ctx, db, name, values)
    state_of(ctx).changed(ctx.tenant)
    if not own:
        await _forget(ctx, name)


async def approve_tools(ctx: Context, name: str, approve: bool | str) -> None:
    """Approve what waits in quarantine; with a hash, only if that is of what is kept now, else raise `Conflict`."""
    async with ctx.database() as db:
        one = await third_party(db, name)
        if isinstance(approve, str):
            check_hash(name, approve, hash_of(one, await store.pins_of(db, name)))
        changed = await store.activate(db, name)
    if changed:
        state_of(ctx).changed(ctx.tenant)
        await _forget(ctx, name)


async def offer(ctx: Context, server: str, tools: list[dict[str, Any]], at: int) -> bool:
    """Keep the tools that one of our services has for this tenant alone; False where a later offer was there."""
    entry = state_of(ctx).catalogue.get(server)
    if server not in OFFERING or entry is None:
        raise InvalidArguments(f"'{server[:40]}' has no tools of a tenant's own")
    everybodys = {tool["name"] for tool in entry.tools}
    if len(tools) > MAX_TOOLS or not everybodys.isdisjoint(str(tool.get("name")) for tool in tools):
        raise InvalidArguments("There are too many tools, or one has the name of one that everybody has")
    async with ctx.database() as db:
        kept = await store.fact(db, store.OFFERED + server)
        known: dict[str, Any] = {} if kept is None else orjson.loads(kept)
        if known.get("at", 0) > at:
            return False
        await store.keep_fact(db, store.OFFERED + server, orjson.dumps({"at": at, "tools": tools}).decode())
    if known.get("tools", []) != tools:
        state_of(ctx).changed(ctx.tenant)
    return True


async def observe(
    ctx: Context, name: str, tools: list[dict[str, Any]], left_out: Sequence[Mapping[str, Any]]
) -> Difference:
    """Keep the tools that a server has now, what was not approved in quarantine, what can't be taken with the reason.

    Where nothing is new nothing is written, and no definition is looked into.
    """
    async with ctx.reading() as db:
        one = await third_party(db, name)
        kept = await store.hashes_of(db, name)
    seen = {str(tool.get("name")): digest(tool) for tool in tools}
    if seen.items() <= kept.items() and not left_out and not one.offer.get("leftOut"):
        return Difference([], [], sorted(kept.keys() - seen.keys()))
    pins, odd = pinned(tools)
    offer = offered({**one.offer, "leftOut": [*odd, *left_out]})
    is_same_offer = offer == offered(one.offer)
    taken = {pin.name: pin.sha256 for pin in pins}
    if is_same_offer and taken.items() <= kept.items():
        return Difference([], [], sorted(kept.keys() - taken.keys()))
    async with ctx.database() as db:
        found = await _difference(db, name, pins)
        await store.add_pins(db, name, found.added)
        await store.replace_pins(db, name, found.changed)
        if not is_same_offer:
            await store.keep_offer(db, name, dict(offer))
    if not found and is_same_offer:
        return found
    state_of(ctx).changed(ctx.tenant)
    ctx.logger.warning(
        "its tools changed",
        installation=name, added=len(found.added), changed=len(found.changed), left_out=len(offer["leftOut"]),
    )  # fmt: skip
    return found


async def _difference(db: Connection, name: str, seen: list[Pin]) -> Difference:
    await third_party(db, name)
    kept = await store.pins_of(db, name)
    found = difference(kept, seen)
    if len(kept) + len(found.added) > MAX_KEPT:
        raise UpstreamError(f"{name} keeps bringing new tools: {MAX_KEPT} are the most, those that vanished among them")
    return found


async def _forget(ctx: Context, name: str, *, purge: bool = False) -> None:
    """Have the adapter host end a server's process or session, so that the next one begins with what is kept now."""
    try:
        await ctx.call("adapter/stop", {"name": name, "purge": purge})
    except TauseError as error:
        ctx.logger.warning("its process will end when it is idle", installation=name, error=error.message)


def _row(plan: Plan, *, default: bool) -> store.Installed:
    reference = plan.reference
    return store.Installed(
        name=reference.name,
        ref=reference.ref,
        title=reference.title,
        registry_type=reference.registry_type,
        identifier=reference.identifier,
        version=plan.version,
        argv=plan.argv,
        store=plan.store,
        config=plan.settings,
        is_default=default,
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=plan.files,
        protocols=plan.protocols,
        offer=dict(plan.offer),
    )
