"""Exact money."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tausestack.errors import InvalidArguments
from tausestack_toolservers.billing import domain
from tausestack_toolservers.billing.domain import Line

LINES = st.lists(st.builds(Line, st.just("x"), st.integers(1, 1000), st.integers(0, 10**9)), min_size=1, max_size=20)


@pytest.mark.covers("billing:exact-totals")
@given(lines=LINES, rate=st.integers(0, 10_000))
def test_tax_is_of_the_subtotal_rounded_once_half_up(lines: list[Line], rate: int) -> None:
    found = domain.totals(lines, rate)
    assert found.subtotal_minor == sum(line.quantity * line.unit_price_minor for line in lines)
    exact = Fraction(found.subtotal_minor * rate, 10_000)
    assert Fraction(-1, 2) < found.tax_minor - exact <= Fraction(1, 2)
    assert found.total_minor == found.subtotal_minor + found.tax_minor


@pytest.mark.covers("billing:exact-totals")
def test_known_amounts() -> None:
    assert domain.totals([Line("asesoría", 1, 25_000_000)], 1900) == domain.Totals(25_000_000, 4_750_000)
    assert domain.totals([Line("x", 1, 50)], 100).tax_minor == 1
    assert domain.major(25_000_000, "COP") == "250000.00"
    assert domain.major(5, "USD") == "0.05"
    assert (domain.major(1500, "CLP"), domain.major(1500, "KWD")) == ("1500", "1.500")
    assert (domain.basis_points(19), domain.basis_points(7.25), domain.basis_points(0.1)) == (1900, 725, 10)


@pytest.mark.covers("billing:exact-totals")
def test_what_cannot_be_exact_is_refused() -> None:
    for percent in (0.001, 19.999, -1, 100.01, float("nan"), float("inf")):
        with pytest.raises(InvalidArguments):
            domain.basis_points(percent)
    with pytest.raises(InvalidArguments):
        domain.totals([Line("x", 1_000_000, domain.MAX_MINOR)], 0)
    for currency in ("XXX", "cop", "", "ZZZ", "COP "):
        with pytest.raises(InvalidArguments):
            domain.minor_digits(currency)
    with pytest.raises(InvalidArguments):
        domain.check_due(date(2026, 1, 2), date(2026, 1, 1))
