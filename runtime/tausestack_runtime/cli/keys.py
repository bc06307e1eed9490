"""`tausestack keys …`: the keys that secrets are sealed and assertions are signed with."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.cli.connection import Refusal, operator, run
from tausestack_runtime.cli.output import JsonOption, say, show_json, show_table

if TYPE_CHECKING:
    from tausestack.client import Operator

keys_app = typer.Typer(help="The stack's own keys: list, rotate.", rich_markup_mode=None)

SAID_EVERY = 100
"""After how many tenants the command says how far it is."""


class Key(StrEnum):
    """What is rotated."""

    master = "master"
    data = "data"
    signing = "signing"


@keys_app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List the master keys and the signing keys that hold, by their names: never a key itself."""

    async def work() -> dict[str, Any]:
        async with operator() as client:
            return await client.stack_keys()

    found = run(work())
    if as_json:
        show_json(found)
        return
    rows = [{"key": "master", "name": name, "holds": _first(index)} for index, name in enumerate(found["masters"])]
    rows += [{"key": "master", "name": name, "holds": _until(until)} for name, until in found["leaving"].items()]
    for index, key in enumerate(found["signing"]):
        until = key["retires_at"]
        holds = _first(index) if until is None else _until(until)
        rows.append({"key": "signing", "name": key["kid"], "holds": holds})
    show_table(rows, ("key", "name", "holds"), "no keys")


@keys_app.command("rotate")
def rotate(
    which: Annotated[
        Key,
        typer.Argument(
            help="master: the key over all data keys; data: tenants' data keys; signing: the key of assertions"
        ),
    ],
    tenant: Annotated[str | None, typer.Option(help="with data: this tenant's alone, not every tenant's")] = None,
    retire: Annotated[
        str | None, typer.Option(metavar="KID", help="with signing: refuse this key at once, rather than in an hour")
    ] = None,
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="with master: refuse what the old one's keys signed, rather than in 10 min"),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Replace a key while the stack runs; where this was broken off, the same command goes on with it."""
    if (tenant is not None and which is not Key.data) or (retire is not None and which is not Key.signing):
        raise Refusal("--tenant goes with data, and --retire with signing")
    if at_once and which is not Key.master:
        raise Refusal("--at-once goes with master")
    found = run(_rotate(which, tenant, retire, at_once=at_once, quiet=as_json))
    if as_json:
        show_json(found)
    elif which is Key.signing:
        say(f"{found['signing'][0]['kid']} signs now")
    elif which is Key.data:
        say(f"the values of {found['tenants']} tenants are sealed by data keys of their own that are new")
    elif len(found["masters"]) > 1:
        say("nothing is sealed by TAUSESTACK_SECRET_KEY_PREVIOUS any more: the next start can do without it")
    else:
        say(f"{found['masters'][0]} is the master key; nothing is sealed by the one before it any more")


async def _rotate(which: Key, tenant: str | None, retire: str | None, *, at_once: bool, quiet: bool) -> dict[str, Any]:
    async with operator() as client:
        if which is Key.signing:
            return await client.rotate_signing_key(retire)
        if which is Key.master:
            await client.begin_master_rotation()
        every = [SYSTEM_TENANT, *(one["id"] for one in await client.tenants())] if tenant is None else [tenant]
        for number, one in enumerate(every, 1):
            await _reseal(client, one, renew=which is Key.data)
            if not quiet and number % SAID_EVERY == 0:
                say(f"{number} of {len(every)} tenants")
        if which is Key.master:
            return await client.end_master_rotation(at_once=at_once)
        return {"tenants": len(every)}


async def _reseal(client: Operator, tenant: str, *, renew: bool) -> None:
    while (await client.reseal(tenant, renew=renew))["left"]:
        continue


def _until(seconds: float) -> str:
    return f"until {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _first(index: int) -> str:
    return "in use" if index == 0 else "until its successor has taken over"
