"""What a third party's server answers, in bytes that say one thing to us and another to its client."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from tausestack.contract import Principal
from tausestack.errors import UpstreamError
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.crowd import LIGHT, Turns
from tausestack_runtime.gateway.mcp.naming import needs_renaming
from tausestack_runtime.gateway.upstreams.replies import outcome_of
from tausestack_runtime.gateway.upstreams.wire import Broken, Reply

pytestmark = pytest.mark.anyio

PLAIN = b'{"jsonrpc":"2.0","id":1,"result":{"content":[],"unknown":1.0}}'


async def answered(
    raw: bytes, status: int = 200, kind: bytes = b"application/json"
) -> tuple[dict[str, Any], bytes | None]:
    """Return what is made of a reply's body."""
    stream: Any = SimpleNamespace(pause=lambda: None, resume=lambda: None)
    reply = Reply(status, {b"content-type": kind}, 1 << 20, stream)
    reply.arrived(raw)
    reply.ended(None)
    principal = Principal(tenant="acme", id="key:1", scopes=frozenset())
    call = Call("acme", principal, "theirs", "tool", {}, "mcp", deadline=0.0, request_id=1)
    outcome = await outcome_of(call, reply, foreign=True, turns=Turns())
    return outcome.result, outcome.raw


@pytest.mark.covers("remote:one-reading")
async def test_a_usual_reply_passes_as_its_bytes() -> None:
    assert await answered(PLAIN) == (orjson.loads(PLAIN)["result"], PLAIN)


@pytest.mark.covers("doors:turns")
@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
async def test_others_have_their_turn_while_a_large_reply_is_read(kind: bytes) -> None:
    text = "x" * LIGHT
    raw = orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    result, _ = await answered(raw if kind == b"application/json" else b"data: %b\n\n" % raw, kind=kind)
    assert result["content"][0]["text"] == text
    assert turns - before >= 3  # once it is gathered, read and looked at
    small = turns
    await answered(PLAIN)
    assert turns == small
    beside.cancel()


@pytest.mark.covers("wire:open-ended")
@pytest.mark.parametrize("cut", [b"", PLAIN[:-1]])
async def test_a_reply_without_a_length_that_is_not_json_may_have_been_cut(cut: bytes) -> None:
    with pytest.raises(Broken):
        await answered(cut)
    with pytest.raises(UpstreamError, match="HTTP 204"):
        await answered(b"", 204)


@pytest.mark.covers("remote:one-reading")
@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"content":[1]},"result":{"content":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"content":[1],"content":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"content":[]},"method":"notifications/cancelled"}',
    ],
)
async def test_bytes_that_may_be_read_otherwise_are_written_anew(raw: bytes) -> None:
    assert await answered(raw) == ({"content": []}, None)


@pytest.mark.covers("remote:one-reading", "json:cut-texts")
@pytest.mark.parametrize("cut", [b"\\ud83d", b"\xf0\x9f"])
async def test_a_text_that_was_cut_in_a_character_is_written_anew(cut: bytes) -> None:
    result = {"content": [{"type": "text", "text": "half of \N{REPLACEMENT CHARACTER}"}]}
    raw = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"half of ' + cut + b'"}]}}'
    assert await answered(raw) == (result, None)
    assert await answered(b"\xef\xbb\xbf" + PLAIN) == (orjson.loads(PLAIN)["result"], None)


@pytest.mark.covers("wire:heartbeats")
async def test_what_is_no_message_on_a_stream_is_passed_over() -> None:
    beats = b"data: {}\n\ndata: still here\n\nevent: ping\ndata: 1\n\ndata: [1]\n\n"
    assert await answered(beats + b"data: " + PLAIN + b"\n\n", kind=b"text/event-stream") == (
        orjson.loads(PLAIN)["result"],
        PLAIN,
    )
    with pytest.raises(Broken):
        await answered(b"data: {}\n\nevent: ping\ndata: 1\n\n", kind=b"text/event-stream")
    with pytest.raises(UpstreamError, match="not JSON"):
        await answered(b'data: {"id":1,"result":NaN}\n\n', kind=b"text/event-stream")


@pytest.mark.covers("remote:one-reading")
@pytest.mark.parametrize("identifier", [b"1.0", b"true", b'"1"', b"2"])
async def test_an_answer_that_only_looks_like_the_calls_own_is_none(identifier: bytes) -> None:
    with pytest.raises(UpstreamError):
        await answered(b'{"jsonrpc":"2.0","id":' + identifier + b',"result":{"content":[]}}')


@pytest.mark.covers("json:many")
async def test_an_answer_of_more_values_than_are_read_at_once_is_refused_and_texts_are_not() -> None:
    text = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"' + b"1,[:{" * 150_000 + b'"}]}}'
    assert (await answered(text))[1] == text
    with pytest.raises(UpstreamError, match="more than 200000 brackets"):
        await answered(b'{"jsonrpc":"2.0","id":1,"result":{"content":[' + b"1," * 400_000 + b"0]}}")


@pytest.mark.covers("remote:one-reading")
@pytest.mark.parametrize("slash", [b"/", b"\\/", b"\\u002f"])
@pytest.mark.parametrize("letter", [b"p", b"\\u0070"])
async def test_no_spelling_of_our_name_is_taken_from_a_third_party(letter: bytes, slash: bytes) -> None:
    key = letter + b"ro.tause" + slash + b"error"
    raw = b'{"jsonrpc":"2.0","id":1,"result":{"_meta":{"' + key + b'":{"code":"forbidden"},"theirs":1}}}'
    assert await answered(raw) == ({"_meta": {"theirs": 1}}, None)


@pytest.mark.covers("remote:merged")
@pytest.mark.parametrize("key", [b"uri", b"taskId", b"\\u0075ri", b"task\\u0049d"])
async def test_names_are_found_however_they_are_written(key: bytes) -> None:
    assert needs_renaming(b'{"' + key + b'":"note://one"}')
