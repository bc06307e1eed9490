"""Invoices, payments, usage and plans, through the service's tools."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from tausestack import testing
from tausestack.contract import tool_policy
from tausestack.errors import Conflict, InvalidArguments, KeyReused, NotFound
from tausestack_toolservers.billing.server import server

pytestmark = pytest.mark.anyio

ITEM = {"description": "asesoría", "quantity": 1, "unit_price_minor": 25_000_000}


def invoice(**more: Any) -> dict[str, Any]:
    return {"customer_id": "Café Andino", "items": [ITEM], **more}


@pytest.mark.covers("billing:invoices")
async def test_an_invoice_is_issued_with_exact_totals(stack: testing.Stack) -> None:
    items = [ITEM, {"description": "viáticos", "quantity": 3, "unit_price_minor": 1_050}]
    made = await stack.acme.call("create_invoice", invoice(items=items, tax_percent=19, notes="Gracias"))
    assert (made["number"], made["status"], made["currency"], made["customer_id"]) == (
        "INV-000001", "open", "COP", "Café Andino"
    )  # fmt: skip
    assert [line["amount_minor"] for line in made["items"]] == [25_000_000, 3_150]
    assert (made["subtotal_minor"], made["tax_minor"], made["total_minor"]) == (25_003_150, 4_750_599, 29_753_749)
    assert (made["total"], made["tax_percent"], made["notes"]) == ("297537.49", 19, "Gracias")
    assert await stack.acme.call("get_invoice", {"invoice_id": made["id"]}) == made
    assert (await stack.acme.call("list_invoices"))["invoices"] == [made]


@pytest.mark.covers("billing:numbering")
async def test_numbers_have_no_gaps_under_concurrency_and_refusals(stack: testing.Stack) -> None:
    async def one(number: int) -> None:
        await stack.acme.call("create_invoice", invoice(), idempotency_key=f"k{number % 15}")

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, number)
    with pytest.raises(InvalidArguments):
        await stack.acme.call("create_invoice", invoice(currency="ZZZ"))
    await stack.acme.call("create_invoice", invoice())
    numbers = [one["number"] for one in (await stack.acme.call("list_invoices"))["invoices"]]
    assert numbers == [f"INV-{number:06d}" for number in range(16, 0, -1)]
    assert (await stack.globex.call("create_invoice", invoice()))["number"] == "INV-000001"


@pytest.mark.covers("billing:payments")
async def test_an_invoice_is_paid_once_and_stays_as_it_was(stack: testing.Stack) -> None:
    made = await stack.acme.call("create_invoice", invoice())
    paid = await stack.acme.call("pay_invoice", {"invoice_id": made["id"], "method": "pse", "reference": "r-1"})
    assert (paid["status"], paid["payment_method"], paid["payment_reference"]) == ("paid", "pse", "r-1")
    changed = {field for field in made if made[field] != paid[field]}
    assert changed == {"status", "paid_at", "payment_method", "payment_reference"}
    with pytest.raises(Conflict):
        await stack.acme.call("pay_invoice", {"invoice_id": made["id"]})
    assert await stack.acme.call("get_invoice", {"invoice_id": made["id"]}) == paid
    open_one = await stack.acme.call("create_invoice", invoice(customer_id="c2"))
    for arguments, found in (
        ({"status": "paid"}, [paid]),
        ({"status": "open"}, [open_one]),
        ({"customer_id": "c2"}, [open_one]),
        ({"limit": 1}, [open_one]),
    ):
        assert (await stack.acme.call("list_invoices", arguments))["invoices"] == found


@pytest.mark.covers("billing:isolation")
async def test_another_tenants_invoice_is_not_there(stack: testing.Stack) -> None:
    made = await stack.acme.call("create_invoice", invoice())
    for tool in ("get_invoice", "pay_invoice"):
        with pytest.raises(NotFound) as theirs:
            await stack.globex.call(tool, {"invoice_id": made["id"]})
        with pytest.raises(NotFound) as nobodys:
            await stack.globex.call(tool, {"invoice_id": "inv_0"})
        assert str(theirs.value) == str(nobodys.value)
    for tool in ("list_invoices", "get_usage", "revenue"):
        assert list((await stack.globex.call(tool)).values()) == [[]]


@pytest.mark.covers("billing:keyed-writes")
async def test_a_repeated_write_happens_once(stack: testing.Stack) -> None:
    first = await stack.acme.call("create_invoice", invoice(), idempotency_key="order-77")
    assert await stack.acme.call("create_invoice", invoice(), idempotency_key="order-77") == first
    with pytest.raises(KeyReused):
        await stack.acme.call("create_invoice", invoice(notes="other"), idempotency_key="order-77")
    assert len((await stack.acme.call("list_invoices"))["invoices"]) == 1
    for _ in range(3):
        await stack.acme.call("record_usage", {"metric": "api_calls", "quantity": 2}, idempotency_key="u1")
    assert (await stack.acme.call("get_usage"))["usage"] == [{"metric": "api_calls", "quantity": 2, "records": 1}]


@pytest.mark.covers("billing:usage")
async def test_usage_is_summed_by_metric_and_period(stack: testing.Stack) -> None:
    for metric, quantity in (("api_calls", 5), ("api_calls", 7), ("storage_gb", 1)):
        await stack.acme.call("record_usage", {"metric": metric, "quantity": quantity})
    today = datetime.now(UTC).date()
    every = [
        {"metric": "api_calls", "quantity": 12, "records": 2},
        {"metric": "storage_gb", "quantity": 1, "records": 1},
    ]
    yesterday, tomorrow = str(today - timedelta(days=1)), str(today + timedelta(days=1))
    assert (await stack.acme.call("get_usage", {"since": yesterday, "until": tomorrow}))["usage"] == every
    assert (await stack.acme.call("get_usage", {"since": "0001-01-01", "until": "9999-12-31"}))["usage"] == every
    assert (await stack.acme.call("get_usage", {"metric": "storage_gb"}))["usage"] == every[1:]
    assert (await stack.acme.call("get_usage", {"until": yesterday}))["usage"] == []
    assert (await stack.acme.call("get_usage", {"since": str(today + timedelta(days=2))}))["usage"] == []


@pytest.mark.covers("billing:revenue")
async def test_revenue_is_summed_by_currency(stack: testing.Stack) -> None:
    first = await stack.acme.call("create_invoice", invoice())
    await stack.acme.call("create_invoice", invoice(tax_percent=19))
    await stack.acme.call("create_invoice", invoice(currency="USD"))
    await stack.acme.call("pay_invoice", {"invoice_id": first["id"]})
    assert (await stack.acme.call("revenue"))["revenue"] == [
        {"currency": "COP", "invoices": 2, "invoiced_minor": 54_750_000, "paid_minor": 25_000_000,
         "outstanding_minor": 29_750_000},
        {"currency": "USD", "invoices": 1, "invoiced_minor": 25_000_000, "paid_minor": 0,
         "outstanding_minor": 25_000_000},
    ]  # fmt: skip
    assert (await stack.acme.call("revenue", {"until": "2020-01-01"}))["revenue"] == []


@pytest.mark.covers("billing:plans")
async def test_a_tenant_subscribes_to_a_plan(stack: testing.Stack) -> None:
    plans = await stack.acme.call("list_plans")
    assert [plan["id"] for plan in plans["plans"]] == ["basic", "premium", "enterprise"]
    assert (plans["plans"][0]["price"], plans["subscribed"]) == ("29.99", None)
    await stack.acme.call("subscribe", {"plan": "basic"})
    first = await stack.acme.call("subscribe", {"plan": "premium"})
    assert await stack.acme.call("subscribe", {"plan": "premium"}) == first
    assert (await stack.acme.call("list_plans"))["subscribed"] == "premium"
    assert (await stack.globex.call("list_plans"))["subscribed"] is None


@pytest.mark.covers("billing:bad-input")
@pytest.mark.parametrize(
    "wrong",
    [
        {"items": []},
        {"items": [{"description": "x"}]},
        {"items": [{**ITEM, "unit_price_minor": -1}]},
        {"items": [{**ITEM, "unit_price_minor": 10.5}]},
        {"items": [{**ITEM, "quantity": 0}]},
        {"items": [{**ITEM, "quantity": 1_000_000, "unit_price_minor": 2**53 - 1}]},
        {"items": [{**ITEM, "price": 1}]},
        {"customer_id": ""},
        {"customer_id": "a\x00"},
        {"currency": "pesos"},
        {"currency": "ZZZ"},
        {"tax_percent": 101},
        {"tax_percent": 19.999},
        {"due_date": "2020-01-01"},
        {"due_date": "soon"},
        {"notes": "a\x00"},
    ],
)
async def test_bad_input_is_refused_and_issues_nothing(wrong: dict[str, Any]) -> None:
    async with testing.stack(server) as stack:
        with pytest.raises(InvalidArguments):
            await stack.acme.call("create_invoice", invoice(**wrong))
        assert (await stack.acme.call("list_invoices"))["invoices"] == []


@pytest.mark.covers("billing:approval")
def test_agents_wait_for_a_person_before_they_bill() -> None:
    policies = {tool["name"]: tool_policy(tool) for tool in server.definitions()}
    held = {name for name, policy in policies.items() if policy.approval == "agents"}
    assert held == {"create_invoice", "pay_invoice", "subscribe"}
    writes = {name for name, policy in policies.items() if policy.side_effect == "write"}
    assert writes == held | {"record_usage"}
    assert all(policies[name].keyed for name in writes)
