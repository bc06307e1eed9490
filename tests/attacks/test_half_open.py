"""Requests that are begun and not ended, by the thousand."""

from __future__ import annotations

import pytest

from attackers import cost
from stack import Stack


def half_open_requests_cost_nothing(stack: Stack, many: int, seconds: float, calls: int) -> None:
    said = cost(stack, ["half-open", stack.url, str(many)], seconds, calls, about=f"{many} half-open requests")
    assert said["most"] == many


@pytest.mark.covers("attacks:half-open")
def test_hundreds_of_half_open_requests_cost_another_tenant_nothing(stack: Stack) -> None:
    half_open_requests_cost_nothing(stack, 400, 2, 200)


@pytest.mark.soak
@pytest.mark.covers("attacks:half-open")
def test_two_thousand_half_open_requests_held_a_minute_cost_another_tenant_nothing(stack: Stack) -> None:
    half_open_requests_cost_nothing(stack, 2_000, 60, 2_000)
