"""A tenant's secrets: sealed under data keys of its own, opened at their own place alone, sealed anew without a gap."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import tausestack as ts
from tausestack.database.vault import BATCH, DATA_KEYS
from tausestack.errors import InternalError, InvalidArguments, TauseError, Unavailable
from tausestack_registry.server import server
from tausestack_registry.tables import secrets

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"])
CANARY = "canary-7f3a ñandú"


@dataclass
class Masters:
    """The masters that hold, the current first; `asked` counts who asked."""

    live: dict[str, bytes] = field(default_factory=lambda: {"one": b"1" * 32})
    asked: int = 0

    def __call__(self) -> dict[str, bytes]:
        self.asked += 1
        return dict(self.live)

    def begin(self, name: str) -> None:
        self.live = {name: name[0].encode() * 32, **self.live}

    def retire(self) -> None:
        self.live = dict(list(self.live.items())[:1])


@pytest.fixture
def masters() -> Masters:
    return Masters()


@pytest.fixture
def url(database: str, request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres_url") if database == "postgresql" else None


@asynccontextmanager
async def registry(masters: Masters, url: str | None, data: Path) -> AsyncGenerator[ts.testing.Stack]:
    async with ts.testing.stack(server, data=data, database_url=url, masters=masters) as stack:
        stack.answer("adapter/stop", lambda _: {"stopped": True})
        yield stack


async def rows(stack: ts.testing.Stack, tenant: str, table: sa.Table) -> list[dict[str, Any]]:
    async with stack.service.tenant_databases().reading(tenant) as db:
        return [dict(row._mapping) for row in await db.execute(sa.select(table))]


async def change(stack: ts.testing.Stack, tenant: str, statement: sa.Executable, parameters: Any = None) -> None:
    async with stack.service.tenant_databases().transaction(tenant) as db:
        await db.execute(statement, parameters)


async def put(stack: ts.testing.Stack, tenant: str, server: str = "storage", **values: str | None) -> None:
    await stack.tenant(tenant).call("update", {"name": server, "secrets": values})


async def revealed(stack: ts.testing.Stack, tenant: str, *names: str, server: str = "storage") -> dict[str, str]:
    asked = {"server": server, "names": list(names)}
    return (await stack.tenant(tenant, system=True).call("reveal", asked))["secrets"]


async def reseal(stack: ts.testing.Stack, tenant: str, *, renew: bool = False) -> dict[str, int]:
    return await stack.tenant(tenant, system=True).call("reseal", {"renew": renew})


@BOTH
@pytest.mark.covers("registry:secrets-set")
async def test_secrets_are_set_replaced_and_removed_and_never_shown(
    masters: Masters, url: str | None, tmp_path: Path
) -> None:
    async with registry(masters, url, tmp_path) as stack:
        await put(stack, "acme", A=CANARY, B="second")
        await put(stack, "globex", A="theirs")
        assert await revealed(stack, "acme", "A", "B", "C") == {"A": CANARY, "B": "second"}
        await put(stack, "acme", A="third", B=None)
        assert await revealed(stack, "acme", "A", "B") == {"A": "third"}
        assert await revealed(stack, "globex", "A", "B") == {"A": "theirs"}
        listed = await stack.acme.call("list_installed")
        assert "third" not in str(listed)
        for bad in ({"LD_PRELOAD": "x"}, {"A": "x" * 40_000}, {"A": "nul\0"}, {"two words": "x"}):
            with pytest.raises(InvalidArguments) as refused:
                await put(stack, "acme", **bad)
            assert "xxxx" not in str(refused.value)
        assert await revealed(stack, "acme", "A") == {"A": "third"}


@BOTH
@pytest.mark.covers("registry:secrets-bound")
async def test_a_sealed_secret_opens_at_its_own_place_alone(masters: Masters, url: str | None, tmp_path: Path) -> None:
    async with registry(masters, url, tmp_path) as stack:
        for tenant in ("acme", "globex"):
            await put(stack, tenant, A=f"{tenant}-a", B=f"{tenant}-b")
            await put(stack, tenant, server="billing", A=f"{tenant}-c")
        own = {(row["installation"], row["name"]): row for row in await rows(stack, "acme", secrets)}
        theirs = {(row["installation"], row["name"]): row for row in await rows(stack, "globex", secrets)}
        place = (secrets.c.installation == "storage") & (secrets.c.name == "A")
        first = own["storage", "A"]
        flipped = first["sealed"][:-1] + bytes([first["sealed"][-1] ^ 1])
        swapped = [own["storage", "B"], own["billing", "A"], theirs["storage", "A"]]
        forged = [
            {**first, "version": 2},
            {**first, "version": 0},
            {**first, "sealed": flipped},
            {**first, "sealed": b""},
        ]
        for other in (*swapped, *forged):
            moved = {"version": other["version"], "sealed": other["sealed"]}
            await change(stack, "acme", sa.update(secrets).where(place).values(moved))
            with pytest.raises(InternalError) as refused:
                await revealed(stack, "acme", "A")
            assert "acme-" not in str(refused.value)
        # Nor does a data key of another tenant's, moved over with the row.
        await change(stack, "acme", sa.delete(DATA_KEYS))
        await change(stack, "acme", sa.insert(DATA_KEYS), await rows(stack, "globex", DATA_KEYS))
        await change(stack, "acme", sa.update(secrets).where(place).values(sealed=theirs["storage", "A"]["sealed"]))
        with pytest.raises(InternalError):
            await revealed(stack, "acme", "A")
        assert await revealed(stack, "globex", "A") == {"A": "globex-a"}


@BOTH
@pytest.mark.covers("registry:secrets-master")
async def test_a_new_master_takes_over_from_the_old_while_secrets_are_read_and_set(
    masters: Masters, url: str | None, tmp_path: Path
) -> None:
    async with registry(masters, url, tmp_path) as stack, registry(masters, url, tmp_path) as other:
        await put(stack, "acme", A="first")
        await put(stack, "globex", A="theirs")
        before = await rows(stack, "acme", secrets)
        masters.begin("two")
        assert await revealed(stack, "acme", "A") == {"A": "first"}
        await put(stack, "acme", B="second")
        await put(other, "initech", A="born under the new one")
        assert [row["master"] for row in await rows(other, "initech", DATA_KEYS)] == ["two"]
        assert (await reseal(other, "acme"))["done"] == 1
        assert (await reseal(other, "acme"))["done"] == 0
        assert await revealed(stack, "acme", "A", "B") == {"A": "first", "B": "second"}
        assert [row["sealed"] for row in await rows(stack, "acme", secrets)][:1] == [before[0]["sealed"]]
        masters.retire()
        assert await revealed(other, "acme", "A") == {"A": "first"}
    async with registry(masters, url, tmp_path) as later:
        assert await revealed(later, "acme", "A", "B") == {"A": "first", "B": "second"}
        with pytest.raises(Unavailable, match="master key one"):  # globex was left behind: its keys say by whom
            await revealed(later, "globex", "A")
        with pytest.raises(Unavailable):
            await put(later, "globex", B="not under a key that can't be opened")


@BOTH
@pytest.mark.covers("registry:secrets-data-key")
async def test_a_tenants_data_key_is_replaced_in_steps_and_broken_off_it_is_gone_on_with(
    masters: Masters, url: str | None, tmp_path: Path
) -> None:
    many = {f"S{number}": f"value-{number}" for number in range(BATCH + 50)}
    async with registry(masters, url, tmp_path) as stack:
        await put(stack, "acme", **many)
        before = {row["name"]: row for row in await rows(stack, "acme", secrets)}
        assert (await reseal(stack, "acme", renew=True))["left"] == 50
        assert {row["version"] for row in await rows(stack, "acme", secrets)} == {1, 2}
        assert await revealed(stack, "acme", *many) == many
    async with registry(masters, url, tmp_path) as stack:
        await put(stack, "acme", S0="set in the middle", extra="new")
        assert (await reseal(stack, "acme", renew=True))["left"] == 0
        assert [row["version"] for row in await rows(stack, "acme", DATA_KEYS)] == [2]
        after = {row["name"]: row for row in await rows(stack, "acme", secrets)}
        assert {row["version"] for row in after.values()} == {2}
        assert not [name for name in before if before[name]["sealed"] == after[name]["sealed"]]
        expected = {**many, "S0": "set in the middle", "extra": "new"}
        assert await revealed(stack, "acme", *expected) == expected
        place = secrets.c.name == "S1"
        old = {"version": 1, "sealed": before["S1"]["sealed"]}
        await change(stack, "acme", sa.update(secrets).where(place).values(old))
        with pytest.raises(InternalError, match="gone"):
            await revealed(stack, "acme", "S1")


@BOTH
@pytest.mark.covers("registry:secrets-migrate")
async def test_what_an_earlier_release_sealed_is_opened_and_sealed_anew(
    masters: Masters, url: str | None, tmp_path: Path
) -> None:
    def earlier(tenant: str, name: str, value: str) -> dict[str, Any]:
        nonce, bound = os.urandom(12), f"{tenant}|secrets|storage/{name}|1".encode()
        sealed = nonce + AESGCM(b"1" * 32).encrypt(nonce, value.encode(), bound)
        return {"installation": "storage", "name": name, "version": 0, "sealed": sealed}

    async with registry(masters, url, tmp_path) as stack:
        for tenant in ("acme", "globex"):
            kept = [earlier(tenant, "A", f"{tenant}-a"), earlier(tenant, "B|C", CANARY)]
            await change(stack, tenant, sa.insert(secrets), kept)
        masters.begin("two")
        assert await revealed(stack, "acme", "A", "B|C") == {"A": "acme-a", "B|C": CANARY}
        assert {row["version"] for row in await rows(stack, "acme", secrets)} == {1}
        assert (await reseal(stack, "globex"))["done"] == 2
        assert {row["version"] for row in await rows(stack, "globex", secrets)} == {1}
        masters.retire()
        for tenant in ("acme", "globex"):
            assert (await reseal(stack, tenant)) == {"done": 0, "left": 0}
            assert await revealed(stack, tenant, "A") == {"A": f"{tenant}-a"}


@pytest.mark.covers("registry:secrets-system")
async def test_nobody_but_the_stack_itself_reveals_or_seals_anew(masters: Masters, tmp_path: Path) -> None:
    async with registry(masters, None, tmp_path) as stack:
        await put(stack, "acme", A=CANARY)
        for tool, asked in (("reveal", {"server": "storage", "names": ["A"]}), ("reseal", {})):
            with pytest.raises(TauseError) as refused:
                await stack.acme.call(tool, asked)
            assert CANARY not in str(refused.value)
        assert await reseal(stack, "nobody") == {"done": 0, "left": 0}
        assert not (tmp_path / "tenants" / "nobody").exists()
