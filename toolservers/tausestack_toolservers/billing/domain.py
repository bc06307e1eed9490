"""Money and invoices: exact arithmetic on integer minor units (centavos of COP, cents of USD)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from tausestack.contract import BillingPlan
from tausestack.errors import InvalidArguments

MAX_MINOR = 2**53 - 1
"""The largest amount: what every JSON reader still takes for an exact integer."""

_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
        CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
        KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
        NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
        TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
_MINOR_DIGITS = {currency: decimals for decimals, listed in _DECIMALS.items() for currency in listed.split()}


@dataclass(frozen=True)
class Plan:
    """A billing plan: its monthly price and what is included; -1 is without limit."""

    id: BillingPlan
    name: str
    price_minor: int
    currency: str
    included: dict[str, int]


PLANS = (
    Plan("basic", "Basic", 2999, "USD", {"api_calls": 5_000, "storage_gb": 1, "users": 5}),
    Plan("premium", "Premium", 9999, "USD", {"api_calls": 50_000, "storage_gb": 10, "users": 25}),
    Plan("enterprise", "Enterprise", 49999, "USD", {"api_calls": -1, "storage_gb": 100, "users": -1}),
)


@dataclass(frozen=True)
class Line:
    """One line of an invoice; `amount_minor` is before tax."""

    description: str
    quantity: int
    unit_price_minor: int

    @property
    def amount_minor(self) -> int:
        """Quantity times unit price."""
        return self.quantity * self.unit_price_minor


@dataclass(frozen=True)
class Totals:
    """What an invoice comes to."""

    subtotal_minor: int
    tax_minor: int

    @property
    def total_minor(self) -> int:
        """Subtotal and tax."""
        return self.subtotal_minor + self.tax_minor


def minor_digits(currency: str) -> int:
    """Return how many decimals a currency has (ISO 4217), or raise `InvalidArguments`."""
    if currency not in _MINOR_DIGITS:
        raise InvalidArguments(f"'{currency[:10]}' is no ISO 4217 currency code such as COP or USD")
    return _MINOR_DIGITS[currency]


def major(amount_minor: int, currency: str) -> str:
    """Return an amount in a currency's own unit, as decimal text: 25000000 of COP is `250000.00`."""
    return str(Decimal(amount_minor).scaleb(-minor_digits(currency)))


def basis_points(percent: float) -> int:
    """Return a percentage in hundredths of a percent: 19 is 1900; `InvalidArguments` with over two decimals."""
    points = Decimal(str(percent)) * 100
    if points != points.to_integral_value() or not 0 <= points <= 10_000:
        raise InvalidArguments("a tax rate is from 0 to 100 percent, with at most two decimals")
    return int(points)


def totals(lines: Sequence[Line], tax_basis_points: int) -> Totals:
    """Return what lines come to; tax is of the subtotal, rounded once, half a minor unit up.

    Raises `InvalidArguments` where the total is over `MAX_MINOR`.
    """
    subtotal = sum(line.amount_minor for line in lines)
    tax = (Decimal(subtotal) * tax_basis_points / 10_000).to_integral_value(ROUND_HALF_UP)
    found = Totals(subtotal, int(tax))
    if found.total_minor > MAX_MINOR:
        raise InvalidArguments("the invoice is over the largest amount that is kept exactly")
    return found


def invoice_number(number: int) -> str:
    """Return an invoice's number as it is printed: INV-000042."""
    return f"INV-{number:06d}"


def check_due(issued: date, due: date | None) -> str | None:
    """Return when an invoice is due (ISO 8601), or raise `InvalidArguments` where that is before it is issued."""
    if due is not None and due < issued:
        raise InvalidArguments(f"an invoice of {issued.isoformat()} can't have been due on {due.isoformat()}")
    return None if due is None else due.isoformat()
