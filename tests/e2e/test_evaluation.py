"""`tausestack agent eval` against the running stack, over servers of our own and a business's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.spanish import BUSINESS, REQUESTS, business

from stack import Stack, Tenant
from tausestack_runtime.evaluation.cases import read

GOOD = [
    {"id": "nit", "input": "¿Es válido el NIT 900.123.456-8?", "calls": [{"tool": "colombia/validate_nit"}]},
    {
        "id": "factura",
        "input": "Crea una factura para Café Andino por 250.000 COP de asesoría",
        "calls": [{"tool": "billing/create_invoice", "arguments": {"customer_id": "Café Andino"}}],
        "checks": {"status": "success"},
    },
    {"id": "nada", "input": "Cuéntame un chiste", "calls": [], "checks": {"output_contains": ["ninguna herramienta"]}},
]


def _file(folder: Path, cases: list[dict[str, Any]]) -> str:
    path = folder / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases), "utf-8")
    return str(path)


@pytest.mark.covers("evaluation:command")
def test_cases_are_run_and_judged_and_what_waits_for_a_person_is_turned_down(
    stack: Stack, tenant: Tenant, tmp_path: Path
) -> None:
    tenant.install("colombia")
    asked = ("agent", "eval", _file(tmp_path, GOOD), "--tenant", tenant.name)
    ran = stack.cli(*asked, "--json", key=tenant.key)
    found = json.loads(ran.stdout)
    assert ran.stderr == ""
    assert found["total"] == {
        "cases": 3, "passed": 3, "accuracy": 1.0, "tools": 3, "arguments": 3, "unasked_writes": 0,
    }  # fmt: skip
    assert found["cases"][1]["called"][0]["status"] == "rejected"
    assert tenant.must("billing/list_invoices", {})["invoices"] == []
    shown = stack.cli(*asked, key=tenant.key)
    assert "3 of 3 passed (100%)" in shown.stdout

    wrong = [*GOOD, {"id": "otro", "input": "¿Es válido el NIT 900.123.456-8?", "calls": []}]
    missed = stack.cli("agent", "eval", _file(tmp_path, wrong), "--tenant", tenant.name, key=tenant.key, check=False)
    assert missed.returncode == 1
    assert "called colombia/validate_nit; expected nothing" in missed.stdout
    share = ("agent", "eval", _file(tmp_path, wrong), "--tenant", tenant.name, "--least", "0.7")
    assert stack.cli(*share, key=tenant.key).returncode == 0


@pytest.mark.covers("evaluation:command")
def test_what_can_not_be_evaluated_is_said_in_one_line(stack: Stack, tenant: Tenant, tmp_path: Path) -> None:
    for more, reason in (
        (["--model", "recorded"], "TAUSESTACK_RECORDED_TRAFFIC"),
        (["--model", "live"], "TAUSESTACK_MODEL"),
        (["--agent", "nobody"], "nobody"),
    ):
        asked = ("agent", "eval", _file(tmp_path, GOOD), "--tenant", tenant.name, *more)
        ran = stack.cli(*asked, key=tenant.key, check=False)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert ran.stderr.count("\n") == 1
        assert reason in ran.stderr
    bad = stack.cli(
        "agent", "eval", _file(tmp_path, [{"id": "a"}]), "--tenant", tenant.name, key=tenant.key, check=False
    )
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "case 1 ('a'): input: it is missing" in bad.stderr


@pytest.fixture
def shop(stack: Stack) -> Iterator[int]:
    """The business's servers, at a port that the stack may reach."""
    with business(stack.remote_ports[0]) as port:
        yield port


@pytest.mark.covers("planner:spanish")
def test_requests_in_spanish_over_a_businesss_servers(stack: Stack, tenant: Tenant, shop: int, tmp_path: Path) -> None:
    assert BUSINESS.is_dir()
    for name in ("calendar", "tickets", "shipping"):
        tenant.install(f"http://127.0.0.1:{shop}/{name}/mcp", name=name)
    wanted = {"reunion", "estado-tiquete", "flete", "sin-cancelar", "cancela-cita", "si-no-paga", "ya-cancelaron"}
    cases = [case.model_dump(mode="json") for case in read(REQUESTS).cases if case.id in wanted]
    found = stack.cli_json("agent", "eval", _file(tmp_path, cases), "--tenant", tenant.name, key=tenant.key)
    assert (found["total"]["cases"], found["total"]["unasked_writes"]) == (7, 0)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.covers("planner:spanish", "models:recorded-path")
def test_the_whole_corpus_by_the_planner_and_by_recorded_answers() -> None:
    ran = subprocess.run([sys.executable, "-m", "benchmarks.spanish"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("0 unasked writes") == 6
