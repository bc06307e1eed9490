"""A secret does not stand in what is logged of a process, in whatever common form, and wherever a line is cut."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tausestack_runtime.adapters.stdio.process import LOG_BYTES, LOG_LINE_BYTES, LastWords, drain
from tausestack_runtime.adapters.stdio.redaction import Redaction

pytestmark = pytest.mark.anyio

SECRET = 'hunter 2"\\ñ/&=+'
PEM = "-----BEGIN-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END-----\n"


async def logged(chunks: list[bytes], log: Any, *secrets: str) -> list[str]:
    """Return what is logged of a process that writes some chunks, each when the one before was read."""
    stderr = asyncio.StreamReader()
    draining = asyncio.create_task(drain(stderr, log, Redaction(secrets)))
    for chunk in chunks:
        stderr.feed_data(chunk)
        for _ in range(3):
            await asyncio.sleep(0)  # the reader's turn, and no time
    stderr.feed_eof()
    await draining
    return log.texts("stderr")


@pytest.mark.covers("adapters:stderr-redacted")
@pytest.mark.parametrize(
    "form",
    [
        SECRET, repr(SECRET), json.dumps(SECRET), json.dumps({"a": SECRET}, ensure_ascii=False), quote(SECRET),
        quote(SECRET, safe=""), quote_plus(SECRET), base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="), SECRET.encode().hex(), f"x{SECRET}{SECRET}y",
    ],
)  # fmt: skip
async def test_a_secret_is_replaced_in_every_common_form(form: str, log: Any) -> None:
    (said,) = await logged([f"token={form} end\n".encode()], log, SECRET)
    assert "[secret]" in said
    assert said.startswith("token=")
    assert said.endswith(" end")
    assert form not in said
    assert "hunter" not in said


@pytest.mark.covers("adapters:start-fails")
@pytest.mark.parametrize(
    ("lines", "quoted"),
    [
        (["starting", "ready soon"], "ready soon"),
        (["Traceback (most recent call last):", "  File x", "KeyError: 'TOKEN'"], "KeyError: 'TOKEN'"),
        (["Error: Cannot find module '/data/store/a/b.js'", "    at x", "Node.js v22"],
         "Error: Cannot find module '…/a/b.js'"),
        (["Can't open: Error: no file:", " -> /a", "    at x (y.js) {", "}"], "Can't open: Error: no file:"),
        (["bwrap: no such thing", "sandbox: this kernel has no Landlock"], ""),
        (["a\x1b[31mred\tline"], "a [31mred line"),
        (["x" * 5000], "x" * 200),
        (["TypeError: fetch failed"], "TypeError: fetch failed (a sandbox has no network)"),
    ],
)  # fmt: skip
def test_the_last_words_of_a_server_are_its_own_and_short(lines: list[str], quoted: str) -> None:
    words = LastWords(Path("/data/store"))
    for line in lines:
        words.hear(line)
    assert str(words) == quoted


MANY_MARKS = 'CANARY"s3cret~>?v/+alue?>~'


def canary_forms() -> set[str]:
    """Return that secret as programs in several languages print it."""
    raw, go = MANY_MARKS.encode(), json.dumps(MANY_MARKS).replace(">", "\\u003e")
    percent = quote(MANY_MARKS, safe="")
    basics = [base64.b64encode(b"u" * before + b":" + raw).decode() for before in (1, 2, 3)]
    return {
        raw.hex().upper(), base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode(), *basics, *(one.rstrip("=") for one in basics),
        json.dumps(json.dumps(MANY_MARKS)), go, go.replace("\\u003e", "\\u003E"), json.dumps(go),
        json.dumps(MANY_MARKS).replace("/", "\\/"), json.dumps(json.dumps(MANY_MARKS).replace("/", "\\/")),
        go.replace("/", "\\/"), re.sub("%..", lambda found: found[0].lower(), percent), percent.replace("~", "%7E"),
        html.escape(MANY_MARKS), html.escape(MANY_MARKS, quote=False), html.escape(MANY_MARKS).replace("quot", "#34"),
    }  # fmt: skip


@pytest.mark.covers("adapters:stderr-redacted")
@pytest.mark.parametrize("form", sorted(canary_forms()))
async def test_a_secret_is_replaced_as_other_languages_escape_it(form: str, log: Any) -> None:
    (said,) = await logged([f"token={form} end\n".encode()], log, MANY_MARKS)
    assert said.count("[secret]") == 1
    # Before it may be a user's name, and in base64 a letter that it shares with a neighbour.
    assert not any(form[at : at + 8] in said for at in range(8, len(form) - 7))


@pytest.mark.covers("adapters:stderr-redacted")
@pytest.mark.parametrize("secret", ["<a&'b> ü/\\", "é" * 40, "x" * 4096, '"' * 500])
def test_the_forms_of_a_secret_are_few_and_none_is_empty(secret: str) -> None:
    redaction = Redaction([secret])
    assert 0 < redaction.longest <= 12 * len(secret.encode()) + 2
    assert redaction(b"nothing of it") == b"nothing of it"


@pytest.mark.covers("adapters:stderr-redacted")
async def test_each_line_of_a_key_is_replaced(log: Any) -> None:
    said = await logged([PEM.encode(), b"MIIEvQIBADANBg again\n"], log, PEM)
    assert "[secret] again" in said[-1]
    assert not {"MII", "kqh", "BEGIN", "END"} & {word for line in said for word in re.findall(r"[A-Z]{3,5}|kqh", line)}


@pytest.mark.covers("adapters:stderr-redacted")
@pytest.mark.parametrize("before", [0, 1, LOG_LINE_BYTES - 5, LOG_LINE_BYTES, LOG_LINE_BYTES + 1, 5000])
async def test_a_secret_is_found_wherever_it_is_cut(before: int, log: Any) -> None:
    raw = b"x" * before + SECRET.encode() + b"y" * 6000 + SECRET.encode() + b"\n"
    for at in range(before, before + len(SECRET.encode())):
        said = "".join(await logged([raw[:at], raw[at:]], log, SECRET))
        assert "hunter" not in said
        assert '2"' not in said
    said = "".join(await logged([bytes([one]) for one in raw[: before + 40]] + [b"\n"], log, SECRET))
    assert "hunter" not in said


@pytest.mark.covers("adapters:stderr-redacted")
async def test_what_is_no_secret_is_logged_as_it_came(log: Any) -> None:
    assert await logged([b"a b\n", b"\n", b"n\xc3\xa9\n"], log, "", "abc", SECRET) == ["a b", "né"]


@pytest.mark.covers("adapters:stderr-redacted")
async def test_noise_is_capped_also_where_secrets_are_looked_for(log: Any) -> None:
    said = await logged([b"noise " * 2000 + b"\n"] * 100, log, SECRET)
    assert said[-1] == "… the rest is dropped"
    assert sum(map(len, said)) < LOG_BYTES + 2 * LOG_LINE_BYTES
