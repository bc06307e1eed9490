"""`tausestack tenant …` and `tausestack key …`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from tausestack.errors import NotFound
from tausestack_runtime.cli.connection import Refusal, TenantOption, keyring, operator, run
from tausestack_runtime.cli.output import JsonOption, show_fields, show_json, show_table

tenant_app = typer.Typer(help="Tenants: make, list, show, set limits, suspend, resume, delete.", rich_markup_mode=None)
key_app = typer.Typer(help="API keys of a tenant: create, list, revoke.", rich_markup_mode=None)

EXAMPLE = "calls_per_minute=600 or storage_bytes=default"
LEGACY_ANONYMOUS = "legacy_anonymous"
_WHOLE = re.compile(r"-?[0-9]{1,20}")

AnyTenantOption = Annotated[
    str | None,
    typer.Option("--tenant", envvar="TAUSESTACK_TENANT", help="the tenant's id; the operator may do without"),
]


class Role(StrEnum):
    """What a key may do."""

    admin = "admin"
    developer = "developer"
    agent = "agent"
    viewer = "viewer"


@tenant_app.command("create")
def create_tenant(
    tenant: Annotated[str, typer.Argument(metavar="ID")],
    name: Annotated[str | None, typer.Option(help="its name for people")] = None,
    plan: Annotated[str | None, typer.Option(help="its billing plan: basic, premium or enterprise")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tenant and print an admin key of it, which is shown this once."""

    async def work() -> dict[str, Any]:
        async with operator() as client:
            return await client.create_tenant(tenant, name=name, plan=plan)

    made = run(work())
    if as_json:
        show_json(made)
        return
    show_fields({**made["tenant"], "api_key": f"{made['api_key']}   (an admin key; shown this once)"})


@tenant_app.command("list")
def list_tenants(as_json: JsonOption = False) -> None:
    """List every tenant."""

    async def work() -> list[dict[str, Any]]:
        async with operator() as client:
            return await client.tenants()

    found = run(work())
    if as_json:
        show_json({"tenants": found})
    else:
        show_table(
            found, ("id", "name", "plan", "status"), "no tenants yet: make one with 'tausestack tenant create ID'"
        )


@tenant_app.command("show")
def show_tenant(tenant: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Show one tenant and its limits: what each allows, and what is used of it."""

    async def work() -> dict[str, Any]:
        async with operator() as client:
            return {**await client.tenant(tenant), "limits": await client.limits(tenant)}

    found = run(work())
    if as_json:
        show_json(found)
        return
    limits = found.pop("limits")
    show_fields(found)
    print()
    _show_limits(limits)


@tenant_app.command("set")
def set_tenant(
    tenant: Annotated[str, typer.Argument(metavar="ID")],
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE…",
            help="limits, and legacy_anonymous=true or false; KEY= or KEY=default takes back what was set",
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Set a tenant's limits over its plan's, and what else it may; in force everywhere within a second."""
    limits = dict(_setting(each) for each in settings)
    changed = {LEGACY_ANONYMOUS: _flag(limits.pop(LEGACY_ANONYMOUS))} if LEGACY_ANONYMOUS in limits else {}

    async def work() -> dict[str, Any]:
        async with operator() as client:
            shown = await (client.set_limits(tenant, limits) if limits else client.limits(tenant))
            found = await client.change_tenant(tenant, **changed) if changed else await client.tenant(tenant)
            return {"id": tenant, LEGACY_ANONYMOUS: found[LEGACY_ANONYMOUS], "limits": shown}

    found = run(work())
    if as_json:
        show_json(found)
        return
    limits = found.pop("limits")
    show_fields(found)
    print()
    _show_limits(limits)


def _setting(text: str) -> tuple[str, Any]:
    """Return a limit's name and what it is to be; None for what the plan says."""
    name, sign, value = (part.strip() for part in text.partition("="))
    if not sign or not name:
        raise Refusal(f"'{text[:80]}' is no KEY=VALUE: set limits such as {EXAMPLE}")
    if value in {"", "default"}:
        return name, None
    return name, int(value) if _WHOLE.fullmatch(value) else value


def _flag(value: Any) -> bool:
    """Return what `legacy_anonymous` is set to; what takes it back is false."""
    said = {"true": True, "false": False, None: False}
    if value not in said:
        raise Refusal(f"{LEGACY_ANONYMOUS} is true or false")
    return said[value]


def _show_limits(limits: dict[str, dict[str, Any]]) -> None:
    shown = ("limit", "allows", "used", "left", "resets_at", "set_by")
    rows = [{**one, "limit": name, "allows": _amount(one)} for name, one in limits.items()]
    show_table(rows, shown, "no limits")
    for each in rows:
        if "unknown" in each:
            print(f"{each['limit']}: what is used is not known: {each['unknown']}")


def _amount(limit: dict[str, Any]) -> Any:
    return "unlimited" if limit["limit"] is None else limit["limit"]


@tenant_app.command("suspend")
def suspend_tenant(tenant: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Suspend a tenant: its credentials are refused, its calls, runs and servers end, everywhere within a second."""

    async def work() -> dict[str, Any]:
        async with operator() as client:
            return await client.suspend_tenant(tenant)

    changed = run(work())
    if as_json:
        show_json(changed)
    else:
        print(f"{tenant} is suspended; 'tausestack tenant resume {tenant}' lets it go on")


@tenant_app.command("resume")
def resume_tenant(tenant: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Let a suspended tenant go on."""

    async def work() -> dict[str, Any]:
        async with operator() as client:
            return await client.resume_tenant(tenant)

    changed = run(work())
    if as_json:
        show_json(changed)
    else:
        print(f"{tenant} is active")


@tenant_app.command("delete")
def delete_tenant(
    tenant: Annotated[str, typer.Argument(metavar="ID")],
    yes: Annotated[bool, typer.Option("--yes", help="it can't be undone: say that it is meant")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete all that there is of a tenant, and print the receipt of what that was; the audit chain goes as well."""
    if not yes:
        raise Refusal("nothing was deleted: it can't be undone, and --yes says that it is meant")

    async def work() -> dict[str, Any]:
        async with operator() as client:
            return await client.delete_tenant(tenant)

    receipt = run(work())
    if as_json:
        show_json(receipt)
        return
    rows = [
        {"of": part, "what": what, "removed": str(number)}
        for part, counts in receipt["removed"].items()
        for what, number in counts.items()
    ]
    show_table(rows, ("of", "what", "removed"), "it held nothing")
    print(f"{tenant} is deleted, and nothing of it is left")


@key_app.command("create")
def create_key(
    tenant: TenantOption,
    role: Annotated[Role, typer.Option(help="what it may do")] = Role.admin,
    name: Annotated[str | None, typer.Option(help="its name for people")] = None,
    expires: Annotated[int | None, typer.Option(min=1, help="days until it expires; never if not given")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, which is shown this once."""

    async def work() -> dict[str, Any]:
        async with keyring() as client:
            return await client.create_key(tenant, role=role.value, name=name, expires_days=expires)

    made = run(work())
    if as_json:
        show_json(made)
    else:
        show_fields({**made, "api_key": f"{made['api_key']}   (shown this once)"})


@key_app.command("list")
def list_keys(tenant: AnyTenantOption = None, as_json: JsonOption = False) -> None:
    """List keys, without their secrets; of every tenant where none is named."""

    async def work() -> list[dict[str, Any]]:
        if tenant is not None:
            async with keyring() as client:
                return [{"tenant": tenant, **key} for key in await client.keys(tenant)]
        async with operator() as client:
            every = [one["id"] for one in await client.tenants()]
            return [{"tenant": one, **key} for one in every for key in await client.keys(one)]

    found = run(work())
    if as_json:
        show_json({"keys": found})
    else:
        columns = ("tenant", "id", "role", "name", "created_at", "expires_at", "revoked_at", "last_used_at")
        show_table(found, columns, "no keys yet: make one with 'tausestack key create --tenant ID'")


@key_app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID")],
    tenant: AnyTenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key; it is refused everywhere within a second."""

    async def work() -> dict[str, Any]:
        if tenant is not None:
            async with keyring() as client:
                return await client.revoke_key(tenant, key_id)
        async with operator() as client:
            for one in await client.tenants():
                if any(key["id"] == key_id for key in await client.keys(one["id"])):
                    return await client.revoke_key(one["id"], key_id)
        raise NotFound(f"no tenant has a key {key_id}: 'tausestack key list' shows them")

    revoked = run(work())
    if as_json:
        show_json(revoked)
    else:
        print(f"{key_id} is revoked")
