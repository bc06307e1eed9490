"""The condition language of approvals: what it says, what it can't tell, and that it runs nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tausestack.agents.conditions import ConditionError, parse

INVOICE = {
    "total": 1_000_001,
    "currency": "COP",
    "paid": False,
    "customer": {"id": "c1", "email": "ana@cafe.co", "note": None},
    "items": [{"price": 10, "name": "té"}, {"price": 90, "name": "café"}],
    "tags": ["new", "big"],
    "text": "1200",
}


@pytest.mark.covers("agents:conditions")
@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("total > 1000000", True),
        ("total > 1_000_001", False),
        ("total >= 1000001 and currency == 'COP'", True),
        ('currency in ["USD", "EUR"]', False),
        ('not currency in ["USD"]', True),
        ('tags contains "big"', True),
        ('"new" in tags', True),
        ("items.price > 50", True),
        ("items.price > 100", False),
        ("sum(items.price) == 100", True),
        ("count(items) > 2 or max(items.price) == 90", True),
        ("min(items.price) < 10", False),
        ('customer.email like "*@cafe.co"', True),
        ("customer.note == null", True),
        ("not paid", True),
        ("text > 1000", True),
        ("(paid or total > 5) and not (currency != 'COP')", True),
        ("missing > 5", None),
        ("not missing > 5", None),
        ("missing > 5 or total > 5", True),
        ("missing > 5 and total < 5", False),
        ("currency > 5", None),
        ("paid > 0", None),
        ("customer > 5", None),
        ("items.name.deeper == 1", None),
        ("total", None),
    ],
)
def test_a_condition_says_of_arguments_what_it_says(condition: str, holds: bool | None) -> None:
    assert parse(condition).holds(INVOICE) is holds


@pytest.mark.covers("agents:conditions")
@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "total >",
        "> 5",
        "total > 5 5",
        "(total > 5",
        "total > 5)",
        "total = 5",
        "total.upper()",
        "__import__('os').system('id')",
        "exec('1')",
        "total; total",
        "a[0] > 1",
        "{1: 2}",
        "total > 1e999999999",
        "lambda: 1",
        "total if 1 else 2",
        "'unfinished",
        "(" * 50 + "a" + ")" * 50,
        "not " * 50 + "a",
        "a or " * 200 + "a",
    ],
)
def test_what_is_no_condition_is_refused_with_a_reason(wrong: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse(wrong)
    assert str(refused.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["total", "items", "a"]), inner),
    max_leaves=20,
)
CONDITIONS = st.sampled_from(
    ["total > 1", "sum(items.a) > 1", "total in items", 'a like "*"', "not total == items.a", "max(a.a) <= min(items)"]
)


@pytest.mark.covers("agents:conditions")
@settings(max_examples=200, deadline=None)
@given(CONDITIONS, st.dictionaries(st.sampled_from(["total", "items", "a"]), VALUES))
def test_whatever_the_arguments_are_the_answer_is_yes_no_or_unknown(condition: str, arguments: dict[str, Any]) -> None:
    assert parse(condition).holds(arguments) in {True, False, None}


@pytest.mark.covers("agents:conditions")
@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_whatever_is_written_is_a_condition_or_refused(text: str) -> None:
    with suppress(ConditionError):
        parse(text).holds(INVOICE)
