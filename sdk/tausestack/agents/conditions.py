"""Conditions on a call's arguments, as approvals state them: `total > 1000000 and currency == "COP"`.

```
condition   = both { "or" both }
both        = single { "and" single }
single      = "not" single | "(" condition ")" | operand [ comparison operand ]
comparison  = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "contains" | "like"
operand     = number | "text" | true | false | null | [ operand, … ] | path | function "(" path ")"
path        = name { "." name }            function = sum | count | min | max
```

A path leads into the arguments. Where it meets a list it leads into each of its items, and a comparison holds if it
does for any of them. `like` compares with a pattern of `*` and `?`. Nothing is executed and nothing is looked up
elsewhere. What can't be told, as where an argument is missing or is of another kind, is unknown: neither true nor
false, and whoever asks has to take the careful side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, cast

MAX_LENGTH = 500
"""Characters of a condition."""
MAX_DEPTH = 20
"""How deep parentheses, lists and `not` may nest."""
MAX_VALUES = 10_000
"""How many values a path may lead to; where it leads to more nobody can tell."""
MAX_COMPARED = 4_000
"""Characters of a text that is compared with a pattern."""

Truth = bool | None
"""None: nobody can tell."""
Values = list[Any] | None
"""What an operand stands for; None where it is missing."""
Operand = Callable[[Mapping[str, Any]], Values]
Test = Callable[[Mapping[str, Any]], Truth]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d[\d_]*(?:\.\d+)?)(?![\w.])|(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"
    r"|(?P<word>[^\W\d][\w-]*(?:\.[^\W\d][\w-]*)*)|(?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,))"
)
_LITERALS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_RESERVED = frozenset({"and", "or", "not", "in", "contains", "like", *_LITERALS})
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "contains", "like"})


class ConditionError(ValueError):
    """A condition can't be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read."""

    text: str
    _test: Test

    def holds(self, arguments: Mapping[str, Any]) -> Truth:
        """Return whether it holds of a call's arguments, or None where nobody can tell."""
        return self._test(arguments)


@lru_cache(1024)
def parse(text: str) -> Condition:
    """Return the condition that a text states, or raise `ConditionError`."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"a condition has at most {MAX_LENGTH} characters")
    return Condition(text, _Parser(_tokens(text)).whole())


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConditionError(f"'{text[position:].strip()[:20]}' at character {position + 1} is not understood")
        kind = str(match.lastgroup)
        found.append((kind, match.group(kind)))
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Test:
        test = self._condition()
        if self._at < len(self._tokens):
            raise ConditionError(f"'{self._tokens[self._at][1][:20]}' is not expected here")
        return test

    def _condition(self) -> Test:
        tests = [self._both()]
        while self._taken("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda given: _any(test(given) for test in tests)

    def _both(self) -> Test:
        tests = [self._single()]
        while self._taken("and"):
            tests.append(self._single())
        return tests[0] if len(tests) == 1 else lambda given: _all(test(given) for test in tests)

    def _single(self) -> Test:
        self._deeper()
        try:
            if self._taken("not"):
                test = self._single()
                return lambda given: _not(test(given))
            if self._taken("("):
                test = self._condition()
                self._expect(")")
                return test
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Test:
        left = self._operand()
        sign = self._peek()
        if sign not in _COMPARISONS:
            return lambda given: _truth(left(given))
        self._at += 1
        right = self._operand()
        if sign == "contains":
            return lambda given: _compared("in", right(given), left(given))
        return lambda given: _compared(sign, left(given), right(given))

    def _operand(self) -> Operand:
        if self._at >= len(self._tokens):
            raise ConditionError("it ends where a value is expected")
        kind, said = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return _constant(Decimal(said.replace("_", "")))
        if kind == "text":
            return _constant(re.sub(r"\\(.)", r"\1", said[1:-1]))
        if said == "[":
            return self._list()
        if kind != "word" or said in _RESERVED - _LITERALS.keys():
            raise ConditionError(f"'{said[:20]}' stands where a value is expected")
        if said in _LITERALS:
            return _constant(_LITERALS[said])
        if self._taken("("):
            return self._function(said)
        return _path(said)

    def _list(self) -> Operand:
        self._deeper()
        items: list[Operand] = []
        while not self._taken("]"):
            if items:
                self._expect(",")
            items.append(self._operand())
        self._depth -= 1

        def values(given: Mapping[str, Any]) -> Values:
            found = [item(given) for item in items]
            return None if any(each is None for each in found) else [value for each in found for value in each or []]

        return values

    def _function(self, name: str) -> Operand:
        function = _FUNCTIONS.get(name)
        if function is None:
            raise ConditionError(f"there is no function '{name[:20]}': there are {', '.join(sorted(_FUNCTIONS))}")
        kind, said = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        if kind != "word" or said in _RESERVED:
            raise ConditionError(f"{name}(…) takes a path, such as {name}(items.quantity)")
        self._at += 1
        self._expect(")")
        path = _path(said)

        def value(given: Mapping[str, Any]) -> Values:
            found = path(given)
            return None if found is None else function(found)

        return value

    def _peek(self) -> str:
        kind, said = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return "" if kind == "text" else said

    def _taken(self, token: str) -> bool:
        taken = self._peek() == token
        self._at += taken
        return taken

    def _expect(self, token: str) -> None:
        if not self._taken(token):
            raise ConditionError(f"a '{token}' is missing")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(f"it nests deeper than {MAX_DEPTH}")


def _constant(value: Any) -> Operand:
    return lambda _: [value]


def _path(text: str) -> Operand:
    names = text.split(".")

    def values(given: Mapping[str, Any]) -> Values:
        found: list[Any] = [given]
        for name in names:
            reached: list[Any] = []
            for value in found:
                if not isinstance(value, Mapping) or name not in value:
                    return None
                below = cast("Mapping[str, Any]", value)[name]
                reached += cast("list[Any]", below) if isinstance(below, list) else [below]
                if len(reached) > MAX_VALUES:
                    return None
            found = reached
        return found

    return values


def _numbers(values: Sequence[Any]) -> list[Decimal] | None:
    found = [_number(value) for value in values]
    return None if any(number is None for number in found) else [number for number in found if number is not None]


def _sum(values: Sequence[Any]) -> Values:
    numbers = _numbers(values)
    try:
        return None if numbers is None else [sum(numbers, Decimal())]
    except ArithmeticError:
        return None


def _least(values: Sequence[Any]) -> Values:
    numbers = _numbers(values)
    return [min(numbers)] if numbers else None


def _most(values: Sequence[Any]) -> Values:
    numbers = _numbers(values)
    return [max(numbers)] if numbers else None


_FUNCTIONS: Mapping[str, Callable[[Sequence[Any]], Values]] = {
    "sum": _sum,
    "count": lambda values: [Decimal(len(values))],
    "min": _least,
    "max": _most,
}


def _compared(sign: str, left: Values, right: Values) -> Truth:
    if left is None or right is None:
        return None
    if sign == "in":
        return _any(_any(_equal(one, other) for other in right) if right else False for one in left)
    return _any(_pair(sign, one, other) for one in left for other in right)


def _pair(sign: str, one: Any, other: Any) -> Truth:
    if sign == "==":
        return _equal(one, other)
    if sign == "!=":
        return _not(_equal(one, other))
    if sign == "like":
        if not isinstance(one, str) or not isinstance(other, str) or len(one) > MAX_COMPARED:
            return None
        return fnmatchcase(one, other)
    first, second = _number(one), _number(other)
    if first is None or second is None:
        return None
    return {"<": first < second, "<=": first <= second, ">": first > second, ">=": first >= second}[sign]


def _equal(one: Any, other: Any) -> Truth:
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other if type(one) is type(other) or one is None or other is None else None
    first, second = _number(one), _number(other)
    return None if first is None or second is None else first == second


def _number(value: Any) -> Decimal | None:
    """Return a number, also one that is written as text; None for all else, and for what is none, such as NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(value.strip() if isinstance(value, str) else str(value) if isinstance(value, float) else value)
    except ArithmeticError:
        return None
    return found if found.is_finite() else None


def _truth(values: Values) -> Truth:
    if values is None:
        return None
    return _any(value if isinstance(value, bool) else None for value in values)


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _any(truths: Any) -> Truth:
    found: Truth = False
    for truth in truths:
        if truth:
            return True
        found = None if truth is None else found
    return found


def _all(truths: Any) -> Truth:
    found: Truth = True
    for truth in truths:
        if truth is False:
            return False
        found = None if truth is None else found
    return found
