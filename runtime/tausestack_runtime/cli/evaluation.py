"""`tausestack agent eval`: a file of cases run against an agent, and judged."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tausestack_runtime.cli.connection import TenantOption, run, tenant_client
from tausestack_runtime.cli.output import JsonOption, cell, show_json, show_table

if TYPE_CHECKING:
    from tausestack_runtime.evaluation.judging import Verdict


class Model(StrEnum):
    """Which model thinks."""

    OFFLINE = "offline"
    RECORDED = "recorded"
    LIVE = "live"


def evaluate_agent(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="cases in .yaml, .json or .jsonl")],
    tenant: TenantOption,
    agent: Annotated[str, typer.Option(help="the agent that is asked")] = "concierge",
    model: Annotated[Model, typer.Option(help="which model thinks")] = Model.OFFLINE,
    least: Annotated[float, typer.Option(min=0, max=1, help="which share of the cases has to pass")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Run cases against an agent and judge them; fails where too few pass, or something unasked was written.

    Calls that wait for a person are turned down; all others are made: evaluate in a tenant of its own.
    """
    from tausestack_runtime.evaluation import cases, judging  # what --help can do without

    suite = cases.read(file)
    verdicts = run(_evaluated(suite.cases, tenant, agent, model.value))
    found = judging.totals(verdicts)
    if as_json:
        about = {"file": file.name, "agent": agent, "model": model.value}
        show_json({**about, "cases": [verdict.as_json() for verdict in verdicts], "total": found})
    else:
        _show(verdicts, found)
    if found["accuracy"] < least or found["unasked_writes"]:
        raise typer.Exit(1)


async def _evaluated(cases: list[Any], tenant: str, agent: str, model: str) -> list[Verdict]:
    from tausestack_runtime.evaluation.running import evaluate  # imports the client

    verdicts: list[Verdict] = []
    shown = sys.stderr.isatty()
    async with tenant_client(tenant) as client:
        with typer.progressbar(length=len(cases), label="evaluating", file=sys.stderr, hidden=not shown) as bar:
            async for verdict in evaluate(client, agent, cases, model):
                verdicts.append(verdict)
                bar.update(1)
    return verdicts


def _show(verdicts: list[Verdict], found: dict[str, Any]) -> None:
    rows = [
        {
            "case": verdict.id,
            "set": verdict.set,
            "passed": verdict.passed,
            "called": ", ".join(str(call["tool"]) for call in verdict.called),
            "wrong": "; ".join(verdict.wrong),
        }
        for verdict in verdicts
    ]
    columns = ["case", *(["set"] if any(row["set"] for row in rows) else []), "passed", "called", "wrong"]
    show_table(rows, columns, "there are no cases")
    print(_line("all", found))
    for name, sums in found.get("sets", {}).items():
        print(_line(cell(name), sums))


def _line(name: str, sums: dict[str, Any]) -> str:
    return (
        f"{name}: {sums['passed']} of {sums['cases']} passed ({sums['accuracy']:.0%}); right tools in {sums['tools']}, "
        f"right arguments in {sums['arguments']}; {sums['unasked_writes']} unasked writes"
    )
