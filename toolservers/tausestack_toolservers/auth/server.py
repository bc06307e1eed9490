"""The auth service's tools: a tenant's for its keys, the operator's for tenants, the gateway's for who calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from tausestack.changes import Changes
from tausestack.contract import VERSION, BillingPlan
from tausestack.errors import Forbidden
from tausestack.limits import exceeded
from tausestack.mcp import Context, Server, Service
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import object_at
from tausestack.scopes import ANY, MAX_SCOPES, OPERATOR, SYSTEM, TENANT_ADMIN, Role, within
from tausestack_toolservers.auth import people
from tausestack_toolservers.auth.domain import LEGACY_ANONYMOUS
from tausestack_toolservers.auth.keyring import Keyring
from tausestack_toolservers.auth.oauth import endpoints
from tausestack_toolservers.auth.people import ABOUT_USERS, check_giving, check_scopes
from tausestack_toolservers.auth.state import State
from tausestack_toolservers.auth.tables import SCHEMA


@asynccontextmanager
async def _lifespan(service: Service) -> AsyncGenerator[State]:
    yield State(service)


server = Server(
    "auth",
    version=VERSION,
    title="Tenants, people and keys",
    description="Who is calling, a tenant's people, what they let clients do, and its API keys.",
    schema=SCHEMA,
    lifespan=_lifespan,
)

ABOUT_KEYS = "API keys that are good"
PRINTABLE = r"^[^\x00-\x1f]*$"

# Tools that make a key are not keyed: with the result, the kit would keep the key itself.
TenantId = Annotated[str, Field(description="Id of the tenant.", examples=["acme"])]
KeyId = Annotated[
    str,
    Field(
        description="Id of the key: the middle part of tsk_<id>_….",
        examples=["k3v9x0a1b2c3"],
        pattern="^[a-z0-9]{1,40}$",
    ),
]
RoleName = Annotated[Role, Field(description="What the key may do.")]
KeyName = Annotated[
    str | None, Field(description="A name for people.", max_length=120, pattern=PRINTABLE, examples=["web shop"])
]
Days = Annotated[int | None, Field(description="Days until it expires; never if left out.", ge=1, le=3650)]

KEYS_PAGE = 500
Limit = Annotated[int, Field(description="How many to return at most.", ge=1, le=KEYS_PAGE)]
Cursor = Annotated[str | None, Field(description="What an earlier page gave as next_cursor.", max_length=100)]

Scopes = Annotated[
    list[str] | None,
    Field(
        description="What narrows the role: scopes such as tools:call:billing/* or tools:call:billing/create_invoice.",
        max_length=MAX_SCOPES,
        examples=[["tools:call:billing/*"]],
    ),
]


class Identity(BaseModel):
    """Who is calling."""

    tenant: str
    principal: str
    role: str
    scopes: list[str]
    agent: str | None = None
    run: str | None = None


class ApiKey(BaseModel):
    """An API key without its secret; times are UTC, ISO 8601."""

    id: str
    role: str
    name: str
    scopes: list[str] | None
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewApiKey(ApiKey):
    """An API key that was just made."""

    api_key: str = Field(description="The key itself, shown this once.")


class ApiKeys(BaseModel):
    """A tenant's keys, oldest first, page by page."""

    keys: list[ApiKey]
    next_cursor: str | None = Field(default=None, description="Where the next page begins; null on the last.")


class Tenant(BaseModel):
    """A tenant."""

    id: str
    name: str
    plan: str
    status: str
    created_at: str
    legacy_anonymous: bool = Field(False, description="Whether earlier clients come in without a credential.")

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Tenant:
        """Return a tenant as it is shown, of how it is kept."""
        shown = {name: kept[name] for name in ("id", "name", "plan", "status", "created_at")}
        return cls(**shown, legacy_anonymous=object_at(kept, "settings").get(LEGACY_ANONYMOUS) is True)


class Tenants(BaseModel):
    """Every tenant."""

    tenants: list[Tenant]


class NewTenant(BaseModel):
    """A tenant that was just made."""

    tenant: Tenant
    api_key: str = Field(description="An admin key of the tenant, shown this once.")


@server.tool("auth/whoami", title="Who am I", side_effect="read", scopes=[ANY])
async def whoami(ctx: Context) -> Identity:
    """Tell who is calling: the tenant, the API key or person, its role and its scopes."""
    who = ctx.principal
    return Identity(
        tenant=who.tenant,
        principal=who.id,
        role=who.role,
        scopes=sorted(within(who.limits)),
        agent=who.agent,
        run=who.run,
    )


@server.tool("auth/create_api_key", title="Create an API key", side_effect="write", keyed=False, scopes=[TENANT_ADMIN])
async def create_api_key(
    role: RoleName, ctx: Context, name: KeyName = None, expires_days: Days = None, scopes: Scopes = None
) -> NewApiKey:
    """Create an API key of this tenant with a role; the key is shown once and can't be read again."""
    check_giving(ctx.principal, [role], scopes)
    return NewApiKey.model_validate(await _create_key(ctx, ctx.tenant, role, name, expires_days, scopes))


@server.tool("auth/list_api_keys", title="List API keys", side_effect="read", scopes=[TENANT_ADMIN])
async def list_api_keys(ctx: Context, limit: Limit = KEYS_PAGE, cursor: Cursor = None) -> ApiKeys:
    """List this tenant's API keys with their roles, never their secrets, page by page."""
    return ApiKeys.model_validate(await _keyring(ctx).keys(ctx.tenant, limit, cursor))


@server.tool(
    "auth/revoke_api_key", title="Revoke an API key", side_effect="write", idempotent=True, scopes=[TENANT_ADMIN]
)
async def revoke_api_key(key_id: KeyId, ctx: Context) -> ApiKey:
    """Revoke an API key of this tenant; it is refused everywhere within a second."""
    return ApiKey.model_validate(await _keyring(ctx).revoke(ctx.tenant, key_id))


@server.tool("auth/create_tenant", title="Create a tenant", side_effect="write", keyed=False, scopes=[OPERATOR])
async def create_tenant(
    id: Annotated[str, Field(description="Id of the new tenant: a-z, 0-9, '.', '_', '-'.", examples=["acme"])],
    ctx: Context,
    name: Annotated[str | None, Field(description="A name for people.", max_length=200, pattern=PRINTABLE)] = None,
    plan: Annotated[BillingPlan, Field(description="Its billing plan.")] = "basic",
) -> NewTenant:
    """Create a tenant and its first admin key, which is shown once."""
    made, key = await _operated(ctx).create_tenant(id, name=name, plan=plan, by=ctx.principal.id)
    return NewTenant(tenant=Tenant.of(made), api_key=key["api_key"])


@server.tool("auth/list_tenants", title="List tenants", side_effect="read", scopes=[OPERATOR])
async def list_tenants(ctx: Context) -> Tenants:
    """List every tenant."""
    return Tenants(tenants=[Tenant.of(one) for one in await _operated(ctx).tenants()])


@server.tool("auth/get_tenant", title="Show a tenant", side_effect="read", scopes=[OPERATOR])
async def get_tenant(id: TenantId, ctx: Context) -> Tenant:
    """Show one tenant."""
    keyring = _operated(ctx)
    return Tenant.of(await keyring.tenant(await keyring.known(id)) or {})


@server.tool("auth/change_tenant", title="Change a tenant", side_effect="write", idempotent=True, scopes=[OPERATOR])
async def change_tenant(
    id: TenantId,
    legacy_anonymous: Annotated[bool, Field(description="Whether earlier clients come in without a credential.")],
    ctx: Context,
) -> Tenant:
    """Change what is set for a tenant beside its limits; in force everywhere within a second."""
    keyring = _operated(ctx)
    await keyring.change_settings(await keyring.known(id), {LEGACY_ANONYMOUS: legacy_anonymous or None})
    return Tenant.of(await keyring.tenant(id) or {})


@server.tool(
    "auth/create_tenant_key", title="Create a tenant's API key", side_effect="write", keyed=False, scopes=[OPERATOR]
)
async def create_tenant_key(
    tenant: TenantId, role: RoleName, ctx: Context, name: KeyName = None, expires_days: Days = None,
    scopes: Scopes = None,
) -> NewApiKey:  # fmt: skip
    """Create an API key of any tenant; the key is shown once."""
    known = await _operated(ctx).known(tenant)
    check_scopes(scopes)
    return NewApiKey.model_validate(await _create_key(ctx, known, role, name, expires_days, scopes))


@server.tool("auth/list_tenant_keys", title="List a tenant's API keys", side_effect="read", scopes=[OPERATOR])
async def list_tenant_keys(tenant: TenantId, ctx: Context, limit: Limit = KEYS_PAGE, cursor: Cursor = None) -> ApiKeys:
    """List the API keys of any tenant, never their secrets, page by page."""
    keyring = _operated(ctx)
    return ApiKeys.model_validate(await keyring.keys(await keyring.known(tenant), limit, cursor))


@server.tool(
    "auth/revoke_tenant_key",
    title="Revoke a tenant's API key",
    side_effect="write",
    idempotent=True,
    scopes=[OPERATOR],
)
async def revoke_tenant_key(tenant: TenantId, key_id: KeyId, ctx: Context) -> ApiKey:
    """Revoke an API key of any tenant."""
    keyring = _operated(ctx)
    return ApiKey.model_validate(await keyring.revoke(await keyring.known(tenant), key_id))


@server.tool("auth/authenticate", side_effect="read", scopes=[SYSTEM])
async def authenticate(
    key_hash: Annotated[str, Field(description="SHA-256 of the whole key.", pattern="^[0-9a-f]{64}$")], ctx: Context
) -> dict[str, Any]:
    """Tell whose a key is and what it may do; `{"tenant": null}` for one that is not good."""
    return await _operated(ctx).authenticate(key_hash) or {"tenant": None}


@server.tool("auth/snapshot", side_effect="read", scopes=[SYSTEM])
async def snapshot(tenant: TenantId, ctx: Context) -> dict[str, Any]:
    """Return a tenant's status, plan and settings; `{"tenant": null}` for none."""
    return await _operated(ctx).snapshot(tenant) or {"tenant": None}


@server.tool("auth/holder", side_effect="read", scopes=[SYSTEM])
async def holder(
    tenant: TenantId,
    principal: Annotated[str, Field(description="Who: `user:<id>` or `key:<id>`.", max_length=200)],
    ctx: Context,
) -> dict[str, Any]:
    """Return what a person or a key of a tenant may do now; `{"holder": null}` for one that may do nothing."""
    if await _operated(ctx).snapshot(tenant) is None:
        return {"holder": None}
    state: State = ctx.state
    kind, _, name = principal.partition(":")
    if kind == "key":
        return {"holder": await state.keyring.alive(tenant, name)}
    return {"holder": await state.users.may_act(tenant, name) if kind == "user" else None}


@server.tool("auth/ended", side_effect="read", scopes=[SYSTEM])
async def ended(
    tenant: TenantId,
    ids: Annotated[list[str], Field(description="Ids of grants and access tokens.", max_length=8)],
    ctx: Context,
) -> dict[str, bool]:
    """Tell whether one of some grants and access tokens of a tenant has ended; all have where there is none."""
    there = await _operated(ctx).snapshot(tenant)
    state: State = ctx.state
    return {"ended": there is None or await state.grants.ended(tenant, ids)}


@server.tool("auth/limits_used", side_effect="read", scopes=[SYSTEM])
async def limits_used(ctx: Context) -> dict[str, int]:
    """Tell how much the tenant uses of the limits that are counted here."""
    state: State = ctx.state
    return {"users": await state.users.count(ctx.tenant), "api_keys": await state.keyring.count(ctx.tenant)}


@server.tool("auth/note_used", side_effect="write", keyed=False, idempotent=True, scopes=[SYSTEM])
async def note_used(
    tenant: TenantId,
    keys: Annotated[dict[str, str], Field(description="When each key was last used, by id; UTC, ISO 8601.")],
    ctx: Context,
) -> dict[str, Any]:
    """Note when keys were last used."""
    keyring = _operated(ctx)
    await keyring.used(await keyring.known(tenant), keys)
    return {"noted": len(keys)}


@server.tool("auth/external_user", side_effect="write", keyed=False, idempotent=True, scopes=[SYSTEM])
async def external_user(
    tenant: TenantId,
    issuer: str,
    subject: str,
    name: str,
    roles: list[Role],
    ctx: Context,
    most: Annotated[int | None, Field(description="How many users the tenant may have.")] = None,
) -> dict[str, Any]:
    """Return who an external issuer speaks of; somebody new becomes a user, and has the roles that it says."""
    await _operated(ctx).known(tenant)

    def check(count: int) -> None:
        if most is not None and count >= most:
            raise exceeded("users", ABOUT_USERS, most, count, asked=1)

    return await ctx.state.users.seen(tenant, issuer, subject, name, roles, check)


@server.tool("auth/change_settings", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def change_settings(
    tenant: TenantId,
    change: Annotated[dict[str, Any], Field(description="A JSON merge patch: null takes a setting away.")],
    ctx: Context,
) -> dict[str, Any]:
    """Change what is set for a tenant beyond its plan, and return all of it; in force everywhere within a second."""
    return {"settings": await _operated(ctx).change_settings(tenant, change)}


@server.tool("auth/change_status", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def change_status(
    tenant: TenantId, status: Literal["active", "suspended", "deleting"], ctx: Context
) -> dict[str, Any]:
    """Change whether a tenant is active, suspended or being deleted; in force everywhere within a second."""
    return await _operated(ctx).change_status(tenant, status)


@server.tool("auth/unfinished", side_effect="read", scopes=[SYSTEM])
async def unfinished(ctx: Context) -> dict[str, list[str]]:
    """Return the tenants whose deletion, or import, has begun and not ended."""
    return {"tenants": await _operated(ctx).unfinished()}


@server.tool("auth/strike", side_effect="write", idempotent=True, scopes=[SYSTEM])
async def strike(tenant: TenantId, ctx: Context) -> dict[str, bool]:
    """Forget a tenant whose deletion has begun, once nothing else is left of it."""
    await _operated(ctx).strike(tenant)
    return {"struck": True}


@server.tool("auth/changes", side_effect="read", scopes=[SYSTEM])
async def changes(boot: str, epoch: int, ctx: Context) -> Changes:
    """Tell which tenants changed since an epoch of this process."""
    return _operated(ctx).feed.since(boot, epoch)


async def _create_key(
    ctx: Context, tenant: str, role: Role, name: str | None, days: int | None, scopes: list[str] | None
) -> dict[str, Any]:
    def check(count: int) -> None:
        ctx.check_limit("api_keys", ABOUT_KEYS, count)  # none in `_system`: the operator sets it, and is not held to it

    return await _keyring(ctx).create_key(
        tenant, role=role, name=name, days=days, by=ctx.principal.id, request=ctx.idempotency_key, scopes=scopes,
        check=check,
    )  # fmt: skip


def _operated(ctx: Context) -> Keyring:
    """Return the keyring for what reaches beyond one tenant: the gateway lets the operator and itself alone call it."""
    if ctx.tenant != SYSTEM_TENANT:
        raise Forbidden("This is for the operator alone", scope=OPERATOR)
    return _keyring(ctx)


def _keyring(ctx: Context) -> Keyring:
    return ctx.state.keyring


for each in people.TOOLS:
    server.include(each)
endpoints.serve(server)
