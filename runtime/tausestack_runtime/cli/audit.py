"""`tausestack audit …`: a tenant's audit chain."""

from __future__ import annotations

from typing import Any

import typer

from tausestack_runtime.cli.connection import Refusal, TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, show_json

audit_app = typer.Typer(help="The audit chain of a tenant.", rich_markup_mode=None)


@audit_app.callback()
def _group() -> None:
    """Make `audit` a group, even of one command."""


@audit_app.command("verify")
def verify(tenant: TenantOption, as_json: JsonOption = False) -> None:
    """Check the chain from its first entry to its last."""

    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.verify_audit()

    found = run(work())
    if as_json:
        show_json(found)
    elif found["ok"]:
        under_way = f", {found['under_way']} under way" if found["under_way"] else ""
        print(f"the audit chain of {tenant} is whole: {found['lines']} entries, {found['calls']} calls{under_way}")
        print(f"its last entry is {found['head']}: kept elsewhere, that proves what the chain was today")
    if not found["ok"]:
        raise Refusal(
            f"the audit chain of {tenant} is broken at entry {found['first_bad']}: {found['wrong']}; "
            "keep the ledger file as it is, and compare it with a backup"
        )
