"""Which limits hold: the plan's, under what is set for the tenant itself."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack.errors import InvalidArguments
from tausestack_runtime.gateway.limits.allowances import KINDS, checked, limits_of


@pytest.mark.covers("limits:plans")
def test_a_plan_says_what_holds_where_nothing_is_set() -> None:
    basic, premium, enterprise = (limits_of(plan, {}).amounts for plan in ("basic", "premium", "enterprise"))
    assert set(basic) == set(premium) == set(KINDS)
    assert all(basic[name] < premium[name] for name in KINDS)
    assert all(enterprise.get(name, float("inf")) > premium[name] for name in KINDS)
    assert (basic["storage_bytes"], basic["cost_per_month"]) == (10**9, 10 * 10**6)


@pytest.mark.covers("limits:plans")
def test_what_is_set_for_a_tenant_goes_before_its_plan() -> None:
    settings = {"limits": {"runs": 3, "cost_per_month": "2.000001", "storage_bytes": "unlimited", "gone": 1}}
    limits = limits_of("basic", settings)
    assert (limits.amounts["runs"], limits.amounts["cost_per_month"]) == (3, 2_000_001)
    assert "storage_bytes" not in limits.amounts
    assert limits.amounts["connections"] == limits_of("basic", {}).amounts["connections"]
    assert {name: limits.source(name) for name in ("runs", "storage_bytes", "connections")} == {
        "runs": "tenant",
        "storage_bytes": "tenant",
        "connections": "plan",
    }
    assert limits.by_service["agents"] == {"runs": 3}
    assert "storage" not in limits.by_service


@pytest.mark.covers("limits:set")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("runs", value) for value in (-1, 1.5, "5", True, [], {}, 2**53, "Unlimited", "")),
        *(("cost_per_month", value) for value in (-0.1, "NaN", "inf", "1e99999999", "0.0000001", "x", "", None, [])),
    ],
)
def test_what_is_no_amount_is_refused_in_one_line(name: str, value: Any) -> None:
    if value is None:
        assert checked({name: value}) == {name: None}
        return
    with pytest.raises(InvalidArguments) as refused:
        checked({name: value})
    assert name in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.covers("limits:set")
def test_a_limit_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidArguments) as refused:
        checked({"calls_per_minute": 1, "speed": 5})
    assert all(name in refused.value.message for name in ("speed", *KINDS))
    given = {"calls_per_minute": 0, "cost_per_month": 0.00001, "runs": None, "storage_bytes": "unlimited"}
    assert checked(given) == given
