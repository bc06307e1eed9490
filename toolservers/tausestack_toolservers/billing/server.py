"""The billing service's tools."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from tausestack.clock import utc_now
from tausestack.contract import VERSION, BillingPlan
from tausestack.database import Connection
from tausestack.errors import Conflict, NotFound
from tausestack.mcp import Context, Server
from tausestack_toolservers.billing import domain, shapes, store
from tausestack_toolservers.billing.tables import SCHEMA

server = Server(
    "billing",
    version=VERSION,
    title="Billing",
    description="Billing plans, metered usage, invoices and their payment.",
    schema=SCHEMA,
)

Metric = Annotated[
    str,
    Field(
        description="What is counted.",
        pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]{0,119}$",
        examples=["api_calls", "storage_gb"],
    ),
]
Since = Annotated[date | None, Field(description="First day (UTC) that counts.", examples=["2026-01-01"])]
Until = Annotated[date | None, Field(description="Last day (UTC) that counts.", examples=["2026-01-31"])]
Customer = Annotated[
    str,
    Field(
        description="The customer (cliente): an id or a name.",
        min_length=1,
        max_length=200,
        pattern=shapes.PRINTABLE,
        examples=["Café Andino", "c1"],
    ),
]


@server.tool("billing/list_plans", title="List billing plans", side_effect="read")
async def list_plans(ctx: Context) -> shapes.Plans:
    """List the billing plans (planes) with their monthly prices and limits, and the one subscribed to."""
    async with ctx.database() as db:
        current = await store.subscription(db)
    return shapes.Plans(
        plans=[shapes.plan_shape(plan) for plan in domain.PLANS], subscribed=None if current is None else current.plan
    )


@server.tool("billing/subscribe", title="Subscribe to a plan", side_effect="write", idempotent=True, approval="agents")
async def subscribe(
    plan: Annotated[BillingPlan, Field(description="The billing plan.")], ctx: Context
) -> shapes.Subscription:
    """Subscribe (suscribir) this tenant to a billing plan from now on; the same plan again changes nothing."""
    async with ctx.write() as db:
        current = await store.subscription(db)
        if current is not None and current.plan == plan:
            return shapes.Subscription(plan=plan, since=current.since)
        now = utc_now()
        await store.subscribe(db, number=1 if current is None else current.number + 1, plan=plan, since=now)
    return shapes.Subscription(plan=plan, since=now)


@server.tool("billing/create_invoice", title="Create an invoice", side_effect="write", approval="agents")
async def create_invoice(
    customer_id: Customer,
    items: Annotated[list[shapes.InvoiceItem], Field(description="The lines.", min_length=1, max_length=200)],
    ctx: Context,
    currency: Annotated[
        str, Field(description="ISO 4217 code of the currency (moneda).", pattern="^[A-Z]{3}$", examples=["COP", "USD"])
    ] = "COP",
    tax_percent: Annotated[
        float, Field(description="Tax rate (impuesto, IVA) in percent on top, such as 19.", ge=0, le=100, examples=[19])
    ] = 0,
    due_date: Annotated[date | None, Field(description="When it is due.", examples=["2026-12-31"])] = None,
    notes: Annotated[
        str | None, Field(description="A note on the invoice.", max_length=2000, pattern=r"^[^\x00]*$")
    ] = None,
) -> shapes.Invoice:
    """Create and issue an invoice (crear factura) for a customer, with lines and tax; it is final."""
    lines = [domain.Line(item.description, item.quantity, item.unit_price_minor) for item in items]
    domain.minor_digits(currency)
    rate = domain.basis_points(tax_percent)
    found = domain.totals(lines, rate)
    issued = datetime.now(UTC)
    due = domain.check_due(issued.date(), due_date)
    async with ctx.write() as db:
        invoice_id = f"inv_{secrets.token_hex(8)}"
        await store.add_invoice(
            db,
            {
                "id": invoice_id,
                "number": await store.next_number(db),
                "customer_id": customer_id,
                "currency": currency,
                "lines": [{**asdict(line), "amount_minor": line.amount_minor} for line in lines],
                "tax_basis_points": rate,
                "subtotal_minor": found.subtotal_minor,
                "tax_minor": found.tax_minor,
                "total_minor": found.total_minor,
                "notes": notes,
                "due_on": due,
                "issued_at": issued.isoformat(),
            },
        )
        return await _invoice(db, invoice_id)


@server.tool("billing/pay_invoice", title="Record a payment", side_effect="write", approval="agents")
async def pay_invoice(
    invoice_id: shapes.InvoiceId,
    ctx: Context,
    method: Annotated[shapes.Method, Field(description="How it was paid (medio de pago).")] = "other",
    reference: Annotated[
        str | None, Field(description="The payment's own number.", max_length=200, pattern=shapes.PRINTABLE)
    ] = None,
) -> shapes.Invoice:
    """Record an open invoice as paid in full (pagar factura); no money is moved by it."""
    async with ctx.write() as db:
        invoice = await _invoice(db, invoice_id)
        if invoice.status == "paid":
            raise Conflict(f"The invoice {invoice.number} was paid already, at {invoice.paid_at}")
        await store.add_payment(db, invoice_id, method=method, reference=reference, at=utc_now())
        return await _invoice(db, invoice_id)


@server.tool("billing/get_invoice", title="Show an invoice", side_effect="read")
async def get_invoice(invoice_id: shapes.InvoiceId, ctx: Context) -> shapes.Invoice:
    """Show one invoice (ver factura) with its lines, totals and payment."""
    async with ctx.database() as db:
        return await _invoice(db, invoice_id)


@server.tool("billing/list_invoices", title="List invoices", side_effect="read")
async def list_invoices(
    ctx: Context,
    limit: Annotated[int, Field(description="How many to return at most.", ge=1, le=200)] = 50,
    status: Annotated[Literal["open", "paid"] | None, Field(description="Only those that are open or paid.")] = None,
    customer_id: Annotated[
        str | None, Field(description="Only this customer's.", max_length=200, pattern=shapes.PRINTABLE)
    ] = None,
) -> shapes.Invoices:
    """List invoices (listar facturas), newest first."""
    paid = None if status is None else status == "paid"
    async with ctx.database() as db:
        rows = await store.newest_invoices(db, limit=limit, paid=paid, customer_id=customer_id)
    return shapes.Invoices(invoices=[shapes.invoice_shape(row) for row in rows])


@server.tool("billing/record_usage", title="Record usage", side_effect="write")
async def record_usage(
    metric: Metric,
    quantity: Annotated[int, Field(description="How many units.", ge=1, le=1_000_000_000)],
    ctx: Context,
) -> shapes.UsageRecord:
    """Record the use (registrar consumo) of something that is metered."""
    record = shapes.UsageRecord(id=f"use_{secrets.token_hex(8)}", metric=metric, quantity=quantity, at=utc_now())
    async with ctx.write() as db:
        await store.add_usage(db, usage_id=record.id, metric=metric, quantity=quantity, at=record.at)
    return record


@server.tool("billing/get_usage", title="Show usage", side_effect="read")
async def get_usage(
    ctx: Context,
    since: Since = None,
    until: Until = None,
    metric: Annotated[
        str | None, Field(description="Only this metric.", max_length=120, pattern=shapes.PRINTABLE)
    ] = None,
) -> shapes.Usage:
    """Show what was used (ver consumo), summed up by metric."""
    first, end = _period(since, until)
    async with ctx.database() as db:
        rows = await store.usage_by_metric(db, since=first, until=end, metric=metric)
    return shapes.Usage(
        usage=[
            shapes.MetricUsage(metric=row.metric, quantity=int(row.quantity), records=int(row.records)) for row in rows
        ]
    )


@server.tool("billing/revenue", title="Sum up revenue", side_effect="read")
async def revenue(ctx: Context, since: Since = None, until: Until = None) -> shapes.Revenue:
    """Sum up the revenue (ingresos) of the invoices issued in a period by currency: invoiced, paid, outstanding."""
    first, end = _period(since, until)
    async with ctx.database() as db:
        rows = await store.revenue(db, since=first, until=end)
    return shapes.Revenue(
        revenue=[
            shapes.CurrencyRevenue(
                currency=row.currency,
                invoices=int(row.invoices),
                invoiced_minor=int(row.invoiced),
                paid_minor=int(row.paid),
                outstanding_minor=int(row.invoiced) - int(row.paid),
            )
            for row in rows
        ]
    )


async def _invoice(db: Connection, invoice_id: str) -> shapes.Invoice:
    row = await store.invoice(db, invoice_id)
    if row is None:
        raise NotFound("There is no such invoice")
    return shapes.invoice_shape(row)


def _period(since: date | None, until: date | None) -> tuple[str | None, str | None]:
    """Return the first moment of a period and the one after it, as times are kept."""
    end = None if until is None or until == date.max else (until + timedelta(days=1)).isoformat()
    return None if since is None else since.isoformat(), end
