"""Tax ids against an independent oracle, identity cards against the rules of their form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.co import nit as oracle

from tausestack.colombia import format_nit, nit_check_digit, validate_cedula, validate_nit

BASES = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True)
VALID = ("800197268-4", "890903938-8", "860002964-4", "899999063-3", "800191045-1", "213123432-1", "900123456-8")


@pytest.mark.covers("colombia:nit")
@pytest.mark.parametrize("nit", [*VALID, "900.123.456-8", "9001234568", " 900 123 456 - 8 "])
def test_a_good_nit_is_valid_however_it_is_written(nit: str) -> None:
    assert validate_nit(nit)


@pytest.mark.covers("colombia:nit")
@pytest.mark.parametrize(
    "nit",
    ["900123456-1", "2131234325", "", "8", "NIT", "0900123456-8", "9" * 17, "９００１２３４５６８", "90012345²-8"],
)
def test_a_bad_nit_is_not(nit: str) -> None:
    assert not validate_nit(nit)


@pytest.mark.covers("colombia:nit")
@given(base=BASES, digit=st.integers(0, 9))
def test_the_check_digit_agrees_with_an_independent_oracle(base: str, digit: int) -> None:
    assert nit_check_digit(base) == oracle.calc_check_digit(base)
    assert validate_nit(f"{base}-{digit}") == oracle.is_valid(f"{base}{digit}")


@pytest.mark.covers("colombia:nit")
def test_a_nit_is_written_with_dots_and_its_check_digit() -> None:
    assert format_nit("9001234568") == format_nit("900123456") == format_nit("900123456-8") == "900.123.456-8"
    assert format_nit("1032456789" + nit_check_digit("1032456789")).startswith("1.032.456.789-")
    for bad in ("900123456-1", "90012345-7", "12", "nothing"):
        with pytest.raises(ValueError, match="no valid NIT"):
            format_nit(bad)


@pytest.mark.covers("colombia:cedula")
@pytest.mark.parametrize(
    ("cedula", "valid", "strict"),
    [
        ("12345678", True, True),
        ("1.032.456.789", True, True),
        ("123456789", True, False),
        ("2032456789", True, False),
        ("12345", False, False),
        ("012345678", False, False),
        ("12345678901", False, False),
        ("12a45678", False, False),
        ("", False, False),
    ],
)
def test_a_cedula_is_checked_by_its_form(cedula: str, valid: bool, strict: bool) -> None:
    assert validate_cedula(cedula) is valid
    assert validate_cedula(cedula, strict=True) is strict
