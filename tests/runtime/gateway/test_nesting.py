"""JSON that two readers could read in two ways is refused, and no other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tausestack.contract import MCP_VERSION_META
from tausestack.errors import InvalidRequest
from tausestack_runtime.gateway.nesting import MAX_ESCAPES, check_case, loads, loads_strictly

TEXT = st.text(st.sampled_from('ab:\\"{},u03aA ñ😀\n'), max_size=6)


class Pairs(list[tuple[str, Any]]):
    """An object as it is written, with what keys it has, twice or not."""


VALUES = st.recursive(
    TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXT, inner), max_size=3).map(Pairs),
    max_leaves=12,
)


def quoted(text: str, how: int) -> str:
    """Return a string as JSON: plain, escaped where it has to be, or escaped wherever it can be."""
    if how == 2:
        units = text.encode("utf-16-be")
        found = "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))
        return f'"{found}"'
    return json.dumps(text, ensure_ascii=how == 1)


def written(value: Any, ways: Iterator[int]) -> str:
    how = next(ways)
    space = " : " if how == 1 else ":"
    if isinstance(value, Pairs):
        return "{" + ",".join(quoted(key, next(ways)) + space + written(one, ways) for key, one in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(one, ways) for one in value) + "]"
    return quoted(value, how) if isinstance(value, str) else json.dumps(value)


def has_doubles(value: Any) -> bool:
    if isinstance(value, Pairs):
        keys = [key for key, _ in value]
        return len(keys) != len(set(keys)) or any(has_doubles(one) for _, one in value)
    return isinstance(value, list) and any(map(has_doubles, value))


@pytest.mark.covers("json:keys-once")
@given(VALUES, st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_an_object_with_a_key_twice_is_refused_and_no_other(value: Any, ways: list[int]) -> None:
    raw = written(value, iter(ways * 200)).encode()
    if has_doubles(value):
        with pytest.raises(InvalidRequest, match="twice"):
            loads_strictly(raw)
    else:
        assert loads_strictly(raw) == orjson.loads(raw)


@pytest.mark.covers("json:keys-once")
@pytest.mark.parametrize(
    "raw",
    [
        b'{"method":"tools/list","method":"tools/call"}',
        b'{"method":1,"m\\u0065thod":2}',
        b'{"a":{"b":[{"c":1,"c":1}]}}',
        b'{"a":"\\u003a","a":1}',
        b'{"a:":1,"a\\u003A":2}',
        b'{"a":1,"b":"\\\\u003a","a":":"}',
        b'{"":1,"":2}',
    ],
)
def test_doubles_that_would_even_out_are_found(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        loads_strictly(raw)


@pytest.mark.covers("json:many")
@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 1_300_000 + b"{}]",
        b"[" * 3_000_000,
        b"[" + b"[[]]," * 500_000 + b"0]",
        b"[" + b"1," * 2_000_000 + b"0]",
        b"[" + b'"",' * 1_300_000 + b'""]',
        b'["\\\\","\\"",' + b'"\\\\\\"",' * 500_000 + b"0]",
        b"{" + b",".join(b'"k%d":0' % number for number in range(300_000)) + b"}",
    ],
    ids=["objects", "open", "arrays", "numbers", "texts", "escapes", "keys"],
)
def test_a_request_of_more_values_than_are_read_at_once_is_refused_unread(body: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(InvalidRequest, match="in parts"):
        loads_strictly(body)
    assert time.process_time() - begun < 0.2


@pytest.mark.covers("json:many")
def test_what_stands_in_texts_is_no_value() -> None:
    for text in ('a,b:[{\n"c"\\', "\\", '"', '\\",', ",", "ñ:😀{"):
        body = json.dumps({"a": text * 400_000, '"b\\': [1, {"c": 2}]}).encode()
        assert loads_strictly(body) == json.loads(body)
    assert loads_strictly(b"[" + b"{}," * 90_000 + b"0]")
    assert loads_strictly(b"[" + b"1," * 190_000 + b"0]")


@pytest.mark.covers("json:keys-case")
@pytest.mark.parametrize(
    ("message", "params", "meta"),
    [
        ({"jsonrpc": "2.0", "id": 1, "Method": "tools/call"}, {}, {}),
        ({"method": "tools/list", "METHOD": "tools/call"}, {}, {}),
        ({"method": "tools/call", "param\u017f": {}}, {}, {}),  # a long s, which Go folds to s
        ({"method": "tools/call", "PARAMS": {}}, {}, {}),
        ({"method": "tools/call"}, {"name": "a", "Name": "b"}, {}),
        ({"method": "tools/call"}, {"name": "a", "Arguments": {}}, {}),
        ({"method": "tools/call"}, {"_META": {}}, {}),
        ({"method": "tools/call"}, {}, {MCP_VERSION_META.upper(): "2026-07-28"}),
        ({"method": "tools/call"}, {}, {"Pro.Tause/Approval": "x"}),
    ],
)
def test_a_key_in_another_case_is_refused(message: Any, params: Any, meta: Any) -> None:
    with pytest.raises(InvalidRequest, match="is written"):
        check_case(message, params, meta)


@pytest.mark.covers("json:keys-case")
def test_other_peoples_keys_are_theirs() -> None:
    check_case({"jsonrpc": "2.0", "method": "x", "X": 1}, {"other": 1, "Other": 2}, {"com.example/Key": 1})


@pytest.mark.covers("json:cheap")
def test_the_check_costs_a_small_request_little() -> None:
    meta = {MCP_VERSION_META: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params: dict[str, Any] = {"name": "storage__get_json", "arguments": {"key": "a"}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    raw = orjson.dumps(message)

    def strictly() -> None:
        loads_strictly(raw)
        check_case(message, params, meta)

    extra = best(strictly) - best(lambda: orjson.loads(raw))
    assert extra < 10e-6  # 1.3 µs on a quiet machine


def best(work: Any) -> float:
    found = []
    for _ in range(30):
        begun = time.perf_counter()
        for _ in range(100):
            work()
        found.append((time.perf_counter() - begun) / 100)
    return min(found)


HALVES = st.text(st.sampled_from('a\\"u\ud83d\ude00\ud800\udfff😀'), max_size=8)


@pytest.mark.covers("json:cut-texts")
@given(HALVES, HALVES)
def test_half_a_character_is_read_as_a_replacement_and_nothing_else_is(text: str, key: str) -> None:
    raw = json.dumps({key: [text]}).encode()

    def whole(one: str) -> str:
        # Halves that meet are one character again, for every reader.
        return one.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    assert loads(raw) == {whole(key): [whole(text)]}


@pytest.mark.covers("json:cut-texts")
def test_bytes_that_are_no_characters_are_read_as_replacements_and_a_mark_before_them_is_not() -> None:
    assert loads(b'\xef\xbb\xbf{"a":"\xc3\xb1\xff"}') == {"a": "ñ\ufffd"}
    for raw in (b'{"a":NaN}', b'"\\ud8"', b"\xff", b"", b"\xef\xbb\xbf"):
        with pytest.raises(orjson.JSONDecodeError):
            loads(raw)


@pytest.mark.covers("json:cut-texts")
def test_keys_that_are_told_apart_by_half_a_character_are_one_key_twice() -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        loads_strictly(b'{"\\ud800":1,"\\ud801":2}')


@pytest.mark.covers("json:cut-texts")
def test_looking_for_halves_of_characters_has_its_bound() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(b'["' + b"\\ud83d" * (MAX_ESCAPES + 1) + b'"]')


@pytest.mark.covers("json:whole-numbers")
@pytest.mark.parametrize(
    "number", ["18446744073709551617", "-9223372036854775809", "123456789012345678901234567890", "1" * 300]
)
@pytest.mark.parametrize("body", ['{"wei":%s}', '{"a": [1, %s]}', "[%s]", '{"cut":"\\ud83d","wei":%s}'])
def test_a_number_that_would_be_rounded_is_refused(number: str, body: str) -> None:
    with pytest.raises(InvalidRequest, match=number[:80]):
        loads_strictly((body % number).encode())


@pytest.mark.covers("json:whole-numbers")
@pytest.mark.parametrize(
    "number",
    ["18446744073709551615", "-9223372036854775808", "18446744073709551616", "100000000000000000000",
     "1e100", "123456789012345680000", "12345678901234567890.5", '"18446744073709551617"', '"a,18446744073709551617"'],
)  # fmt: skip
def test_a_number_that_says_the_same_once_it_is_written_again_is_taken(number: str) -> None:
    taken = loads_strictly(b'{"a": %b}' % number.encode())["a"]
    assert taken == json.loads(number, parse_int=lambda text: float(text) if abs(int(text)) >= 2**64 else int(text))
