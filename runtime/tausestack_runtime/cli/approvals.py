"""`tausestack approval …`: calls that wait for a person."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from tausestack_runtime.cli.connection import TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, show_fields, show_json, show_table
from tausestack_runtime.cli.servers import json_object

approval_app = typer.Typer(help="Approvals: list, approve, reject.", rich_markup_mode=None)

ApprovalArgument = Annotated[str, typer.Argument(metavar="APPROVAL", help="the approval's id")]
_COLUMNS = ("id", "status", "server", "tool", "arguments", "run", "expires_at")


@approval_app.command("list")
def list_approvals(
    tenant: TenantOption,
    status: Annotated[str | None, typer.Option(help="pending, approved, rejected, used, withdrawn, expired")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the calls that wait for a person, and those that were decided."""

    async def work() -> list[dict[str, Any]]:
        async with tenant_client(tenant) as client:
            return await client.approvals.list(status=status)

    found = run(work())
    if as_json:
        show_json({"approvals": found})
    else:
        show_table(found, _COLUMNS, "there are no approvals")


@approval_app.command("approve")
def approve(
    approval: ApprovalArgument,
    tenant: TenantOption,
    args: Annotated[str | None, typer.Option(metavar="JSON", help="arguments to use instead")] = None,
    reason: Annotated[str | None, typer.Option(help="why")] = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a call, as it is or with other arguments."""
    edited = None if args is None else json_object("--args", args)
    _decide(approval, "approve", tenant, reason, edited, as_json)


@approval_app.command("reject")
def reject(
    approval: ApprovalArgument,
    tenant: TenantOption,
    reason: Annotated[str | None, typer.Option(help="why; the agent is told")] = None,
    as_json: JsonOption = False,
) -> None:
    """Reject a call."""
    _decide(approval, "reject", tenant, reason, None, as_json)


def _decide(
    approval: str,
    decision: Literal["approve", "reject"],
    tenant: str,
    reason: str | None,
    arguments: dict[str, Any] | None,
    as_json: bool,
) -> None:
    async def work() -> dict[str, Any]:
        async with tenant_client(tenant) as client:
            return await client.approvals.decide(approval, decision, reason=reason, arguments=arguments)

    found = run(work())
    if as_json:
        show_json(found)
    else:
        show_fields({name: found.get(name) for name in (*_COLUMNS, "reason")})
