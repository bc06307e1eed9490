"""The auth service's tools for people: who there is, what they may do, how they sign in, what they let clients do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from tausestack.clock import utc_now
from tausestack.confidential import SECRET
from tausestack.contract import Principal
from tausestack.errors import Forbidden, InvalidArguments, NotFound
from tausestack.mcp import Context, tool
from tausestack.scopes import ANY, MAX_SCOPES, TENANT_ADMIN, Role, is_grantable
from tausestack_toolservers.auth import domain
from tausestack_toolservers.auth.state import State, signing

PAGE = 500
"""People on a page: with all that can be said of each, what takes some ten milliseconds."""
ABOUT_USERS = "people, disabled ones too"
UserId = Annotated[
    str,
    Field(
        description="What the person signs in with: a name or an e-mail address.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$",
        examples=["ana@example.co"],
    ),
]
Roles = Annotated[list[Role], Field(description="What they may do: that of every role.", min_length=1, max_length=4)]
Narrowed = Annotated[
    list[str] | None,
    Field(description="What narrows the roles: scopes such as tools:call:billing/*.", max_length=MAX_SCOPES),
]
Name = Annotated[str | None, Field(description="A name for people.", max_length=120, pattern=r"^[^\x00-\x1f]*$")]
Limit = Annotated[int, Field(description="How many to return at most.", ge=1, le=PAGE)]
Cursor = Annotated[str | None, Field(description="What an earlier page gave as next_cursor.", max_length=128)]
Password = Annotated[str, Field(description="8 to 256 characters.", max_length=1024, json_schema_extra=SECRET)]


class User(BaseModel):
    """A person of the tenant; times are UTC, ISO 8601."""

    id: str
    name: str
    roles: list[str]
    scopes: list[str] | None
    created_at: str
    created_by: str
    disabled_at: str | None
    last_login_at: str | None
    external: bool = Field(description="Whether an OIDC issuer vouches for them, and they have no password here.")


class Users(BaseModel):
    """A tenant's people by id, page by page."""

    users: list[User]
    next_cursor: str | None = Field(default=None, description="Where the next page begins; null on the last.")


class SignedIn(BaseModel):
    """An access token, and whose it is."""

    access_token: str
    token_type: str
    expires_in: int = Field(description="Seconds.")
    scope: str
    user: User


class Verified(BaseModel):
    """What a token says, where it is good now."""

    active: bool
    principal: str | None = None
    client: str | None = None
    scopes: list[str] = Field(default_factory=list)
    expires_at: int | None = Field(default=None, description="Seconds since the epoch.")


class SignIn(BaseModel):
    """What a person let a client do; times are seconds since the epoch."""

    id: str
    user: str
    client: str
    client_name: str
    scopes: list[str]
    resource: str
    created_at: int
    expires_at: int


class SignIns(BaseModel):
    """What stands, newest first, page by page."""

    grants: list[SignIn]
    next_cursor: str | None = Field(default=None, description="Where the next page begins; null on the last.")


class Ended(BaseModel):
    """The grant that ended."""

    id: str


@tool("auth/create_user", title="Create a user", side_effect="write", keyed=False, scopes=[TENANT_ADMIN])
async def create_user(
    id: UserId, roles: Roles, ctx: Context, password: Password | None = None, name: Name = None,
    scopes: Narrowed = None,
) -> User:  # fmt: skip
    """Create a person of this tenant, who may sign in where they have a password."""
    check_giving(ctx.principal, roles, scopes)
    state: State = ctx.state
    made = await state.users.create(
        ctx.tenant, id, name=name, roles=roles, scopes=scopes, password=password, by=ctx.principal.id,
        check=lambda count: ctx.check_limit("users", ABOUT_USERS, count),
    )  # fmt: skip
    return User.model_validate(made)


@tool("auth/list_users", title="List users", side_effect="read", scopes=[TENANT_ADMIN])
async def list_users(ctx: Context, limit: Limit = PAGE, cursor: Cursor = None) -> Users:
    """List this tenant's people with their roles, by id and page by page."""
    state: State = ctx.state
    found = await state.users.listed(ctx.tenant, cursor or "", limit + 1)
    following = found[limit - 1]["id"] if len(found) > limit else None
    return Users.model_validate({"users": found[:limit], "next_cursor": following})


@tool(
    "auth/set_roles",
    title="Set a user's roles",
    side_effect="write",
    keyed=False,
    idempotent=True,
    scopes=[TENANT_ADMIN],
)
async def set_roles(user: UserId, roles: Roles, ctx: Context, scopes: Narrowed = None) -> User:
    """Set what a person may do, in force everywhere within a second."""
    check_giving(ctx.principal, roles, scopes)
    state: State = ctx.state
    return User.model_validate(await state.users.change(ctx.tenant, user, roles=list(roles), scopes=scopes))


@tool(
    "auth/disable_user",
    title="Disable a user",
    side_effect="write",
    keyed=False,
    idempotent=True,
    scopes=[TENANT_ADMIN],
)
async def disable_user(user: UserId, ctx: Context) -> User:
    """Keep a person from signing in, and end all that they let clients do, within a second."""
    state: State = ctx.state
    found = await state.users.change(ctx.tenant, user, disabled_at=utc_now())
    await state.grants.end_all_of(ctx.tenant, user)
    return User.model_validate(found)


@tool(
    "auth/enable_user", title="Enable a user", side_effect="write", keyed=False, idempotent=True, scopes=[TENANT_ADMIN]
)
async def enable_user(user: UserId, ctx: Context) -> User:
    """Let a person sign in again."""
    state: State = ctx.state
    return User.model_validate(await state.users.change(ctx.tenant, user, disabled_at=None))


@tool("auth/set_password", title="Set a user's password", side_effect="write", keyed=False, scopes=[TENANT_ADMIN])
async def set_password(user: UserId, password: Password, ctx: Context) -> User:
    """Give a person another password, and end all that they let clients do."""
    state: State = ctx.state
    held = await state.users.known(ctx.tenant, user)
    # Whoever sets it can sign in with it.
    check_giving(ctx.principal, held["roles"], held["scopes"])
    found = await state.users.set_password(ctx.tenant, user, password)
    await state.grants.end_all_of(ctx.tenant, user)
    return User.model_validate(found)


@tool("auth/change_password", title="Change my password", side_effect="write", keyed=False, scopes=[ANY])
async def change_password(current: Password, new: Password, ctx: Context) -> User:
    """Change one's own password, and end all that one let clients do."""
    state: State = ctx.state
    kind, _, user = ctx.principal.id.partition(":")
    if kind != "user" or ctx.principal.agent is not None:
        raise Forbidden("Only a person who is signed in has a password", scope=TENANT_ADMIN)
    await state.users.check(ctx.tenant, user, current)
    found = await state.users.set_password(ctx.tenant, user, new)
    await state.grants.end_all_of(ctx.tenant, user)
    return User.model_validate(found)


@tool("auth/login", title="Sign in", side_effect="write", keyed=False)
async def login(user: UserId, password: Password, ctx: Context, scopes: Narrowed = None) -> SignedIn:
    """Sign a person in by name and password, and return an access token of theirs that lives for minutes.

    Clients that act for people use OAuth instead, so that they never see a password.
    """
    check_scopes(scopes)
    state = await signing(ctx)
    found = await state.users.check(ctx.tenant, user, password)
    wanted = None if scopes is None else frozenset(scopes)
    issued = await state.tokens.for_user(ctx.tenant, found, ctx.principal.id, wanted)
    return SignedIn.model_validate({**issued.body, "user": found})


@tool("auth/verify", title="Verify a token", side_effect="read")
async def verify(
    token: Annotated[str, Field(description="An access token of this tenant.", max_length=4096)], ctx: Context
) -> Verified:
    """Tell whether an access token of this tenant is good now, and whose it is."""
    state = await signing(ctx)
    found = await state.tokens.active(ctx.tenant, token)
    if found is None:
        return Verified(active=False)
    return Verified(
        active=True,
        principal=found.subject,
        client=found.client,
        scopes=sorted(found.scopes),
        expires_at=found.expires,
    )


@tool("auth/list_grants", title="List sign-ins", side_effect="read", scopes=[ANY])
async def list_grants(ctx: Context, limit: Limit = PAGE, cursor: Cursor = None) -> SignIns:
    """List what people let clients do, page by page: an admin sees everybody's, a person their own."""
    state: State = ctx.state
    return SignIns.model_validate(await state.grants.listed(ctx.tenant, _whose(ctx.principal), limit, cursor))


@tool("auth/revoke_grant", title="End a sign-in", side_effect="write", keyed=False, idempotent=True, scopes=[ANY])
async def revoke_grant(
    grant: Annotated[str, Field(description="The grant's id.", pattern="^[0-9a-f]{24}$")], ctx: Context
) -> Ended:
    """End what a person let a client do, with every token that came of it, within a second."""
    state: State = ctx.state
    whose, found = _whose(ctx.principal), await state.grants.one(ctx.tenant, grant)
    if found is None or whose not in {None, found.user}:
        raise NotFound("There is no such grant")
    await state.grants.end(ctx.tenant, grant)
    return Ended(id=grant)


TOOLS: tuple[Any, ...] = (
    create_user, list_users, set_roles, disable_user, enable_user, set_password, change_password,
    login, verify, list_grants, revoke_grant,
)  # fmt: skip


def check_scopes(scopes: Sequence[str] | None) -> None:
    """Raise `InvalidArguments` for what is no scope that can be given."""
    wrong = next((scope for scope in scopes or () if not is_grantable(scope)), None)
    if wrong is not None:
        raise InvalidArguments(f"'{wrong[:80]}' is no scope: tools:read, tools:call:billing/* and the like are")


def check_giving(giver: Principal, roles: Sequence[str], scopes: Sequence[str] | None) -> None:
    """Raise `Forbidden` where somebody would give what they do not have themselves."""
    check_scopes(scopes)
    lacking = domain.beyond(giver.limits, domain.scopes_of(roles, scopes))
    if lacking is not None:
        raise Forbidden(f"Nobody can give what they lack: this credential has no {lacking}", scope=lacking)


def _whose(principal: Principal) -> str | None:
    """Return the person whose grants somebody sees; None: everybody's."""
    if domain.beyond(principal.limits, [TENANT_ADMIN]) is None:
        return None
    kind, _, user = principal.id.partition(":")
    if kind != "user":
        raise Forbidden("Only an admin sees what others let clients do", scope=TENANT_ADMIN)
    return user
