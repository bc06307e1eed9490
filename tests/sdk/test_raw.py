"""Raw JSON, and what comes as text beside it."""

from __future__ import annotations

import pytest

from tausestack.raw import MAX_DIGITS, number_of


@pytest.mark.covers("json:numbers")
def test_a_number_that_comes_as_text_is_plain_digits_and_not_too_many() -> None:
    assert [number_of(text) for text in ("0", "007", "42", "9" * MAX_DIGITS)] == [0, 7, 42, 10**MAX_DIGITS - 1]
    wrong = ["", " 1", "1 ", "-1", "+1", "1_0", "1.0", "1e3", "²", "٣", "\0", "9" * (MAX_DIGITS + 1), "9" * 5_000]
    assert [number_of(text) for text in wrong] == [None] * len(wrong)
