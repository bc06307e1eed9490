"""Tax ids (NIT) and identity cards (cédula de ciudadanía)."""

from __future__ import annotations

import re

# DIAN, Orden Administrativa 4 of 1989: from the last digit of the base to the first.
_WEIGHTS = (3, 7, 13, 17, 19, 23, 29, 37, 41, 43, 47, 53, 59, 67, 71)

_SEPARATORS = re.compile(r"[\s.,-]")
_BASE = re.compile(r"[1-9][0-9]{5,14}")
_NIT = re.compile(r"[1-9][0-9]{6,15}")
_HYPHENATED = re.compile(r"[^-]*-\s*[0-9]\s*")
_COMPANY = re.compile(r"[89][0-9]{8}")
_CEDULA = re.compile(r"[1-9][0-9]{5,9}")
_STRICT_CEDULA = re.compile(r"[1-9][0-9]{5,7}|1[0-9]{9}")


def nit_check_digit(base: str) -> str:
    """Return the check digit of a NIT's base: 6 to 15 digits, separators allowed, else `ValueError`."""
    digits = _SEPARATORS.sub("", base)
    if not _BASE.fullmatch(digits):
        raise ValueError("a NIT has 6 to 15 digits before its check digit and does not start with 0")
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, reversed(digits), strict=False))
    rest = total % 11
    return str(rest if rest < 2 else 11 - rest)


def validate_nit(nit: str) -> bool:
    """Return whether a NIT is well formed and its last digit is its check digit.

    `900.123.456-8`, `900123456-8` and `9001234568` are the same. It says nothing of whether the NIT is registered.
    """
    digits = _SEPARATORS.sub("", nit)
    return _NIT.fullmatch(digits) is not None and nit_check_digit(digits[:-1]) == digits[-1]


def format_nit(nit: str) -> str:
    """Return a NIT as it is usually written, `900.123.456-8`.

    A company's nine digits (starting with 8 or 9) without a check digit get theirs. `ValueError` where the check digit
    is wrong or the form is not a NIT's.
    """
    digits = _SEPARATORS.sub("", nit)
    if _COMPANY.fullmatch(digits) and not _HYPHENATED.fullmatch(nit):
        digits += nit_check_digit(digits)
    if not validate_nit(digits):
        raise ValueError("this is no valid NIT: its form or its check digit is wrong")
    return f"{int(digits[:-1]):,}".replace(",", ".") + f"-{digits[-1]}"


def validate_cedula(cedula: str, strict: bool = False) -> bool:
    """Return whether a number has the form of a cédula: 6 to 10 digits, separators allowed, no leading zero.

    `strict` takes only the series that are issued: up to 8 digits, or 10 starting with 1. A cédula has no check digit,
    so neither form proves that it exists.
    """
    form = _STRICT_CEDULA if strict else _CEDULA
    return form.fullmatch(_SEPARATORS.sub("", cedula)) is not None
