"""The price list: what calls cost, and a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tausestack_runtime.ledger import Price, read_prices
from tausestack_runtime.settings import StartError


@pytest.mark.covers("ledger:prices")
def test_the_operators_list_says_what_each_class_costs(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"version": "7", "currency": "USD", "amounts": {"standard": 3, "premium": 25}}')
    prices = read_prices(path)
    assert prices.of("premium") == Price("premium", 25, "USD", "7")
    assert prices.of("unheard-of") == Price("unheard-of", 3, "USD", "7")
    assert prices.of("free") == Price("free", 0, "USD", "7")
    assert read_prices(None).of("standard").currency == "COP"


@pytest.mark.covers("ledger:prices")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": "1"}',
        '{"version": "1", "currency": "pesos"}',
        '{"version": "1", "currency": "COP", "amounts": {"standard": 0.5}}',
        '{"version": "1", "currency": "COP", "amounts": {"standard": -1}}',
        '{"version": "1", "currency": "COP", "amount": {}}',
        None,
    ],
)
def test_a_list_that_is_none_stops_the_start_in_one_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "prices.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StartError) as refusal:
        read_prices(path)
    assert "\n" not in str(refusal.value)
    assert "prices.json" in str(refusal.value)
