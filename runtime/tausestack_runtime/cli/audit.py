"""`tausestack audit …`: what a tenant's audit chain tells, and whether it is whole; the operator's own too."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.cli.connection import (
    KEY_VARIABLE,
    OPERATOR_PREFIX,
    Refusal,
    TenantOption,
    operator,
    run,
    tenant_client,
)
from tausestack_runtime.cli.output import JsonOption, show_json, show_table

audit_app = typer.Typer(help="The audit chains.", rich_markup_mode=None)
_COLUMNS = ("at", "principal", "door", "server", "tool", "decision", "rule", "outcome", "error")


@audit_app.callback()
def _group() -> None:
    """Make `audit` a group, even of one command."""


@audit_app.command("list")
def list_entries(
    tenant: TenantOption,
    limit: Annotated[int, typer.Option(min=1, help="how many entries to look at")] = 100,
    denied: Annotated[bool, typer.Option("--denied", help="of these, what was refused alone")] = False,
    as_json: JsonOption = False,
) -> None:
    """List audit entries, the newest first: who called what, what was decided by which rule, what came of it."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.audit(limit=limit)

    found = [entry for entry in run(work()) if not denied or entry["decision"] == "deny"]
    if as_json:
        show_json({"entries": found})
    else:
        show_table(found, _COLUMNS, "there are no such entries")


@audit_app.command("verify")
def verify(
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", envvar="TAUSESTACK_TENANT", help="the tenant's id; else the operator's own chain"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a chain from its first entry to its last: a tenant's, or the operator's own."""
    whose = tenant or SYSTEM_TENANT
    found = run(_verified(whose))
    if as_json:
        show_json(found)
    elif found["ok"]:
        under_way = f", {found['under_way']} under way" if found["under_way"] else ""
        print(f"the audit chain of {whose} is whole: {found['lines']} entries, {found['calls']} calls{under_way}")
        print(f"its last entry is {found['head']}: kept elsewhere, that proves what the chain was today")
    if not found["ok"]:
        raise Refusal(
            f"the audit chain of {whose} is broken at entry {found['first_bad']}: {found['wrong']}; "
            "keep the ledger file as it is, and compare it with a backup"
        )


async def _verified(tenant: str) -> dict[str, Any]:
    """Ask with the tenant's own key where there is one, else as the operator."""
    key = os.environ.get(KEY_VARIABLE, "")
    if tenant != SYSTEM_TENANT and key and not key.startswith(OPERATOR_PREFIX):
        async with tenant_client(tenant) as client:
            return await client.verify_audit()
    async with operator() as client:
        return await client.verify_audit(None if tenant == SYSTEM_TENANT else tenant)
