"""Queries of the billing service."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack_toolservers.billing.tables import invoices, payments, subscriptions, usage

_WITH_PAYMENT = sa.select(invoices, payments.c.method, payments.c.reference, payments.c.paid_at).select_from(
    invoices.outerjoin(payments, payments.c.invoice == invoices.c.id)
)


async def next_number(db: Connection) -> int:
    """Return the number of the next invoice; the tenant has one writer at a time, so that no number is left out."""
    return 1 + int(await db.scalar(sa.select(sa.func.coalesce(sa.func.max(invoices.c.number), 0))))


async def add_invoice(db: Connection, values: dict[str, Any]) -> None:
    """Add an invoice."""
    await db.execute(sa.insert(invoices).values(**values))


async def invoice(db: Connection, invoice_id: str) -> Row | None:
    """Return an invoice with its payment, or None."""
    return await db.one(_WITH_PAYMENT.where(invoices.c.id == invoice_id))


async def newest_invoices(db: Connection, *, limit: int, paid: bool | None, customer_id: str | None) -> list[Row]:
    """Return invoices with their payments, newest first."""
    query = _WITH_PAYMENT.order_by(invoices.c.number.desc()).limit(limit)
    if paid is not None:
        query = query.where(payments.c.paid_at.is_not(None) if paid else payments.c.paid_at.is_(None))
    if customer_id is not None:
        query = query.where(invoices.c.customer_id == customer_id)
    return await db.execute(query)


async def add_payment(db: Connection, invoice_id: str, *, method: str, reference: str | None, at: str) -> None:
    """Note that an invoice was paid."""
    await db.execute(sa.insert(payments).values(invoice=invoice_id, method=method, reference=reference, paid_at=at))


async def revenue(db: Connection, *, since: str | None, until: str | None) -> list[Row]:
    """Return invoices, invoiced and paid by currency; `until` is excluded."""
    paid = sa.case((payments.c.paid_at.is_not(None), invoices.c.total_minor), else_=0)
    query = (
        sa.select(
            invoices.c.currency,
            sa.func.count().label("invoices"),
            sa.func.sum(invoices.c.total_minor).label("invoiced"),
            sa.func.sum(paid).label("paid"),
        )
        .select_from(invoices.outerjoin(payments, payments.c.invoice == invoices.c.id))
        .group_by(invoices.c.currency)
        .order_by(invoices.c.currency)
    )
    return await db.execute(_between(query, invoices.c.issued_at, since, until))


async def add_usage(db: Connection, *, usage_id: str, metric: str, quantity: int, at: str) -> None:
    """Add a usage record."""
    await db.execute(sa.insert(usage).values(id=usage_id, metric=metric, quantity=quantity, at=at))


async def usage_by_metric(db: Connection, *, since: str | None, until: str | None, metric: str | None) -> list[Row]:
    """Return sums and counts by metric; `until` is excluded."""
    query = (
        sa.select(usage.c.metric, sa.func.sum(usage.c.quantity).label("quantity"), sa.func.count().label("records"))
        .group_by(usage.c.metric)
        .order_by(usage.c.metric)
    )
    if metric is not None:
        query = query.where(usage.c.metric == metric)
    return await db.execute(_between(query, usage.c.at, since, until))


async def subscription(db: Connection) -> Row | None:
    """Return the subscription that counts, or None."""
    return await db.one(sa.select(subscriptions).order_by(subscriptions.c.number.desc()).limit(1))


async def subscribe(db: Connection, *, number: int, plan: str, since: str) -> None:
    """Add a subscription, which counts from now on."""
    await db.execute(sa.insert(subscriptions).values(number=number, plan=plan, since=since))


def _between(query: Any, column: Any, since: str | None, until: str | None) -> Any:
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)
