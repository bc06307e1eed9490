"""What billing's tools take and return."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tausestack.database import Row
from tausestack_toolservers.billing import domain

PRINTABLE = r"^[^\x00-\x1f]+$"

Method = Literal["card", "pse", "transfer", "cash", "other"]
InvoiceId = Annotated[
    str, Field(description="Id of the invoice.", pattern=PRINTABLE, examples=["inv_0123456789abcdef"])
]


class InvoiceItem(BaseModel):
    """One line of an invoice."""

    model_config = ConfigDict(extra="forbid")

    description: str = Field(
        description="What is sold (concepto).", min_length=1, max_length=500, pattern=PRINTABLE, examples=["asesoría"]
    )
    quantity: int = Field(default=1, description="How many (cantidad).", ge=1, le=1_000_000)
    unit_price_minor: int = Field(
        description="Price of one before tax in integer minor units of the currency: centavos of COP, cents of USD;"
        " 250.000 COP is 25000000.",
        ge=0,
        le=domain.MAX_MINOR,
        examples=[25000000],
    )


class InvoiceLine(BaseModel):
    """One line of an issued invoice; amounts in integer minor units, before tax."""

    description: str
    quantity: int
    unit_price_minor: int
    amount_minor: int


class Invoice(BaseModel):
    """An issued invoice; amounts in integer minor units, `total` the same in the currency's own unit."""

    id: str
    number: str
    status: Literal["open", "paid"]
    customer_id: str
    currency: str
    items: list[InvoiceLine]
    tax_percent: float
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    total: str = Field(description="The total as decimal text, such as 250000.00.")
    notes: str | None
    issued_at: str
    due_date: str | None
    paid_at: str | None
    payment_method: str | None
    payment_reference: str | None


class Invoices(BaseModel):
    """Invoices, newest first."""

    invoices: list[Invoice]


class Plan(BaseModel):
    """A billing plan; -1 among what is included is without limit."""

    id: str
    name: str
    price_minor: int
    price: str
    currency: str
    cycle: Literal["monthly"]
    included: dict[str, int]


class Plans(BaseModel):
    """The billing plans, and the one that the tenant subscribed to."""

    plans: list[Plan]
    subscribed: str | None


class Subscription(BaseModel):
    """The plan that a tenant subscribed to, and since when (UTC, ISO 8601)."""

    plan: str
    since: str


class UsageRecord(BaseModel):
    """A usage record."""

    id: str
    metric: str
    quantity: int
    at: str


class MetricUsage(BaseModel):
    """The use of one metric."""

    metric: str
    quantity: int
    records: int


class Usage(BaseModel):
    """Use by metric."""

    usage: list[MetricUsage]


class CurrencyRevenue(BaseModel):
    """Revenue in one currency, in integer minor units."""

    currency: str
    invoices: int
    invoiced_minor: int
    paid_minor: int
    outstanding_minor: int


class Revenue(BaseModel):
    """Revenue by currency."""

    revenue: list[CurrencyRevenue]


def plan_shape(plan: domain.Plan) -> Plan:
    """Return a plan as tools show it."""
    return Plan(
        id=plan.id,
        name=plan.name,
        price_minor=plan.price_minor,
        price=domain.major(plan.price_minor, plan.currency),
        currency=plan.currency,
        cycle="monthly",
        included=plan.included,
    )


def invoice_shape(row: Row) -> Invoice:
    """Return an invoice and its payment as tools show it."""
    lines: list[dict[str, Any]] = row.lines
    return Invoice(
        id=row.id,
        number=domain.invoice_number(row.number),
        status="open" if row.paid_at is None else "paid",
        customer_id=row.customer_id,
        currency=row.currency,
        items=[InvoiceLine.model_validate(line) for line in lines],
        tax_percent=row.tax_basis_points / 100,
        subtotal_minor=row.subtotal_minor,
        tax_minor=row.tax_minor,
        total_minor=row.total_minor,
        total=domain.major(row.total_minor, row.currency),
        notes=row.notes,
        issued_at=row.issued_at,
        due_date=row.due_on,
        paid_at=row.paid_at,
        payment_method=row.method,
        payment_reference=row.reference,
    )
