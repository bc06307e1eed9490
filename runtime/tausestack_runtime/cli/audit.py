"""`tausestack audit …`: a tenant's audit chain, and the operator's own."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.cli.connection import KEY_VARIABLE, OPERATOR_PREFIX, Refusal, operator, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, show_json

audit_app = typer.Typer(help="The audit chains.", rich_markup_mode=None)


@audit_app.callback()
def _group() -> None:
    """Make `audit` a group, even of one command."""


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
