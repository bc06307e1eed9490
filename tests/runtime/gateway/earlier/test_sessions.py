"""Sessions by themselves: their tokens, and what is kept of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tausestack.contract import Principal
from tausestack.database import TenantDatabases
from tausestack_runtime.gateway.mcp.earlier.session import SESSION_SECONDS, NoSession, Session, Tokens
from tausestack_runtime.gateway.mcp.earlier.store import State, States, Upstream
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.sealing import MAX_TOKEN, Sealer
from tausestack_runtime.gateway.tables import SCHEMA, sessions

pytestmark = pytest.mark.anyio

ANA = Principal("acme", "key:k1", frozenset({"tools:call"}), "admin")
PARAMS = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"sampling": {}},
    "clientInfo": {"name": "c", "version": "1"},
}


@pytest.fixture
async def databases(tmp_path: Path) -> AsyncIterator[TenantDatabases]:
    found = TenantDatabases(SCHEMA, data=tmp_path, url=None)
    yield found
    await found.aclose()


def begun() -> Session:
    session, _ = Tokens(Sealer(bytes(32))).begin(ANA, None, PARAMS)
    return session


@pytest.mark.covers("earlier:bound")
def test_a_token_opens_for_its_own_key_principal_and_run_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(Sealer(bytes(32)))
    session, token = tokens.begin(ANA, "red", PARAMS)
    assert tokens.open(token, ANA, "red") == session
    for other in (replace(ANA, tenant="globex"), replace(ANA, id="key:k2"), replace(ANA, agent="a", run="r")):
        with pytest.raises(NoSession):
            tokens.open(token, other, "red")
    with pytest.raises(NoSession):
        tokens.open(token, ANA, None)
    with pytest.raises(NoSession):
        Tokens(Sealer(bytes(31) + b"1")).open(token, ANA, "red")
    late = time.time() + SESSION_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: late)
    with pytest.raises(NoSession):
        tokens.open(token, ANA, "red")


@pytest.mark.covers("earlier:bound")
def test_a_client_that_says_too_much_of_itself_is_refused() -> None:
    tokens = Tokens(Sealer(bytes(32)))
    much = {"experimental": {f"{number:x}": str(hash((number, "x"))) for number in range(2000)}}
    with pytest.raises(Refused):
        tokens.begin(ANA, None, {**PARAMS, "capabilities": much})
    few = {"experimental": {"a": "b" * 10_000}}
    session, token = tokens.begin(ANA, None, {**PARAMS, "capabilities": few})
    assert len(token) < MAX_TOKEN
    assert tokens.open(token, ANA, None) == session


@pytest.mark.covers("earlier:gateways")
async def test_what_one_gateway_changes_another_sees_and_the_end_is_final(databases: TenantDatabases) -> None:
    session, here, there = begun(), States(databases), States(databases)
    assert await there.of(session) == State()
    upstream = Upstream("s1", "2025-06-18")
    changed = await here.change(session, lambda state: replace(state, level="error", upstreams={"red": upstream}))
    there.forget(session)
    assert await there.of(session) == changed
    assert (await here.end(session)).upstreams == {"red": upstream}
    for states in (here, there):
        with pytest.raises(NoSession):
            await states.change(session, lambda state: replace(state, level="debug"))
    there.forget(session)
    with pytest.raises(NoSession):
        await there.of(session)


@pytest.mark.covers("earlier:end")
async def test_rows_go_after_their_sessions_expiry(databases: TenantDatabases) -> None:
    states = States(databases)
    old = replace(begun(), expires=time.time() - 1)
    for session in (old, begun()):
        await states.change(session, lambda state: replace(state, watched=("note://one",)))
    async with databases.reading("acme") as db:
        kept = [row.id for row in await db.execute(sa.select(sessions.c.id))]
    assert len(kept) == 1
    assert old.id not in kept
