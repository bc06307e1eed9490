"""The loopback model server by itself: recorded answers in two wire formats, and how they are recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from model_server import FakeModel, calls, says
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tausestack.errors import InvalidArguments
from tausestack_agents.loopback import traffic
from tausestack_agents.loopback.answers import Answer, Asked

LINES: list[dict[str, Any]] = [
    {"for": "hora en Lima", "answer": {"calls": [{"name": "clock", "arguments": {"zone": "America/Lima"}}]}},
    {"for": "hora en Lima", "answer": {"text": "Son las cinco.", "input_tokens": 30}},
    {"for": "sin cupo", "answer": {"text": "Too many", "status": 429, "retry_after": 7}},
    {"answer": {"text": "Lo demás."}},
]


@contextmanager
def _playing(file: Path, *more: str) -> Iterator[str]:
    command = [sys.executable, "-m", "tausestack_agents.loopback", str(file), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()


def _write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def _post(url: str, path: str, body: dict[str, Any], **headers: str) -> httpx2.Response:
    return httpx2.post(url + path, json=body, headers=headers, timeout=60, trust_env=False)


@pytest.mark.covers("models:loopback")
def test_recorded_answers_are_played_in_both_wire_formats(tmp_path: Path) -> None:
    with _playing(_write(tmp_path / "answers.jsonl", LINES)) as url:
        asked = {"model": "m", "messages": [{"role": "user", "content": "¿Qué hora es? hora en Lima"}]}
        called = _post(url, "/v1/chat/completions", asked).json()
        function = called["choices"][0]["message"]["tool_calls"][0]["function"]
        assert (function["name"], json.loads(function["arguments"])) == ("clock", {"zone": "America/Lima"})
        assert called["choices"][0]["finish_reason"] == "tool_calls"
        said = _post(url, "/v1/messages", asked).json()
        assert said["content"] == [{"type": "text", "text": "Son las cinco."}]
        assert (said["stop_reason"], said["usage"]["input_tokens"]) == ("end_turn", 30)
        streamed = _post(url, "/v1/messages", {**asked, "stream": True})  # from the first again
        events = [line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event")]
        assert events[0] == "message_start"
        assert {"content_block_start", "content_block_delta", "content_block_stop"} < set(events)
        assert events[-2:] == ["message_delta", "message_stop"]
        limited = {"model": "m", "messages": [{"role": "user", "content": "sin cupo"}], "stream": True}
        for path, kind in (("/v1/chat/completions", "requests"), ("/v1/messages", "rate_limit_error")):
            refused = _post(url, path, limited)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
            assert refused.json()["error"]["type"] == kind
        other = {"model": "m", "messages": [{"role": "user", "content": "otra cosa"}]}
        assert _post(url, "/v1/chat/completions", other).json()["choices"][0]["message"]["content"] == "Lo demás."


@pytest.mark.covers("models:loopback")
def test_what_a_vendor_replies_is_recorded_and_played_again_without_a_credential(tmp_path: Path) -> None:
    vendor, file = FakeModel(), tmp_path / "recorded.jsonl"
    vendor.always = lambda asked: (says("Hecho.") if asked.results else calls("clock", {"zone": "UTC"}))(asked)
    asked: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "¿Qué hora es?"}]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "17:00"}
    turns = [asked, {**asked, "messages": [*asked["messages"], result]}]
    try:
        with _playing(file, "--record", vendor.url) as url:
            live = [
                _post(url, "/v1/chat/completions", turn, authorization="Bearer sk-secret-openai").text for turn in turns
            ]
    finally:
        vendor.close()
    assert vendor.asked[0].headers["authorization"] == "Bearer sk-secret-openai"
    assert "sk-secret" not in file.read_text("utf-8")
    with _playing(file) as url:
        assert [_post(url, "/v1/chat/completions", turn).text for turn in turns] == live
        later = {**asked, "messages": [*asked["messages"], {**result, "content": "18:30"}]}
        assert _post(url, "/v1/chat/completions", later).text == live[1]  # what tools return is no part of the key
        unknown = _post(url, "/v1/chat/completions", {"model": "m", "messages": []})
        assert unknown.status_code == 400
        assert "No answer was recorded" in unknown.json()["error"]["message"]


@pytest.mark.anyio
@pytest.mark.covers("models:both-wires", "models:loopback")
async def test_pydantic_ais_own_client_of_openai_is_served_as_by_the_vendor(tmp_path: Path) -> None:
    seen: list[str] = []
    with _playing(_write(tmp_path / "answers.jsonl", LINES)) as url:
        provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")
        agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=provider))

        @agent.tool_plain
        def clock(zone: str) -> str:  # pyright: ignore[reportUnusedFunction] the agent calls it
            seen.append(zone)
            return "17:00"

        async with agent.run_stream("Dime la hora en Lima") as ran:
            pieces = [piece async for piece in ran.stream_text(delta=True)]
        assert "".join(pieces) == "Son las cinco."
        assert ran.usage.input_tokens == 40
    assert seen == ["America/Lima"]


@pytest.mark.covers("models:loopback")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"answer": {"texts": "x"}}, "answer.texts"),
        ({"answer": {"text": 3}}, "answer.text"),
        ({"for": "x"}, "answer"),
        ({"answer": {}, "body": ""}, "answer"),
        ({"answers": {}}, "answers"),
        ([], "valid"),
    ],
)
def test_a_line_that_is_none_is_named(line: Any, reason: str) -> None:
    with pytest.raises(InvalidArguments, match="Recorded answer 1") as refused:
        traffic.Traffic([line])
    assert reason in refused.value.message


@pytest.mark.covers("models:loopback")
@pytest.mark.parametrize("content", ['{"answer": {"texts": "x"}}', "no json", None])
def test_a_file_that_cannot_be_played_is_told_of_in_one_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "answers.jsonl"
    if content is not None:
        file.write_text(content)
    command = [sys.executable, "-m", "tausestack_agents.loopback", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.covers("models:loopback")
def test_a_request_is_known_by_its_conversation() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    asked = Asked("openai", body)
    same = Asked("openai", {**body, "stream": True, "temperature": 1})
    assert asked.digest() == same.digest()
    assert asked.digest() != Asked("openai", {**body, "model": "n"}).digest()
    found = traffic.Traffic([{"digest": asked.digest(), "answer": {"text": "sí"}}]).answer(same)
    assert isinstance(found, Answer)
    assert found.text == "sí"
