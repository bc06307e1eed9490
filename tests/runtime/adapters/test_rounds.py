"""What a server of an earlier version asks its client, answered over several requests."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from adapter_door import Caller, HostDoor, said
from tausestack_runtime.adapters.asked import Answered, Asked
from tausestack_runtime.adapters.session.sealing import Sealer, State, digest

pytestmark = pytest.mark.anyio

ACCEPTED = {"action": "accept", "content": {"name": "Ana"}}
MESSAGE = {"role": "assistant", "content": {"type": "text", "text": "4"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///a"}]}


async def answered(caller: Caller, tool: str, first: dict[str, Any], *given: dict[str, Any]) -> dict[str, Any]:
    """Go on with a call round by round, and return its result."""
    result = first
    for answer in given:
        assert result["resultType"] == "input_required"
        answers = dict.fromkeys(result["inputRequests"], answer)
        result = await caller.call(tool, answers=answers, state=result["requestState"])
    return result


@pytest.mark.covers("adapters:asks-back")
async def test_a_servers_question_is_the_callers_to_answer_while_the_call_waits(either: HostDoor) -> None:
    caller = either.caller("talk")
    first = await caller.call("form")
    assert first["resultType"] == "input_required"
    assert "ttlMs" not in first
    [asked] = first["inputRequests"].values()
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["requestedSchema"]["properties"] == {"name": {"type": "string"}}
    assert said(await answered(caller, "form", first, ACCEPTED)) == ACCEPTED


@pytest.mark.covers("adapters:asks-back")
async def test_several_questions_go_out_at_once_and_several_rounds_follow_each_other(either: HostDoor) -> None:
    caller = either.caller("talk")
    first = await caller.call("all")
    asked = {one["method"]: key for key, one in first["inputRequests"].items()}
    assert set(asked) == {"elicitation/create", "sampling/createMessage", "roots/list"}
    # What is not answered is asked again.
    partly = {asked["sampling/createMessage"]: MESSAGE}
    second = await caller.call("all", answers=partly, state=first["requestState"])
    assert {one["method"] for one in second["inputRequests"].values()} == {"elicitation/create", "roots/list"}
    rest = {asked["elicitation/create"]: ACCEPTED, asked["roots/list"]: ROOTS, "unasked": {}}
    last = await caller.call("all", answers=rest, state=second["requestState"])
    assert said(last) == [ACCEPTED, MESSAGE, ROOTS]
    assert said(await answered(caller, "twice", await caller.call("twice"), ACCEPTED, ACCEPTED)) == [ACCEPTED, ACCEPTED]


@pytest.mark.covers("adapters:asks-back")
async def test_prompts_ask_back_too(either: HostDoor) -> None:
    caller = either.caller("talk")
    first = await caller.get("prompts/get", {"name": "greet"})
    [key] = first["inputRequests"]
    again = {"name": "greet", "inputResponses": {key: ACCEPTED}, "requestState": first["requestState"]}
    assert "Ana" in (await caller.get("prompts/get", again))["messages"][0]["content"]["text"]


@pytest.mark.covers("adapters:pages-to-visit")
async def test_pages_to_visit_are_asked_for_in_modern_words(either: HostDoor) -> None:
    caller = either.caller("talk")
    first = await caller.call("page")
    [asked] = first["inputRequests"].values()
    assert asked["params"] == {"mode": "url", "message": "Sign in", "url": "https://example.com/in"}
    assert said(await answered(caller, "page", first, {"action": "accept"})) == {"action": "accept"}
    blind = either.caller("talk", capabilities={"elicitation": {}})
    refused = (await blind.ask("tools/call", {"name": "visit", "arguments": {}}))["error"]
    assert (refused["code"], blind.status) == (-32021, 400)
    assert refused["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}


@pytest.mark.covers("adapters:pages-to-visit")
async def test_a_call_that_wants_a_page_visited_first_is_made_anew_afterwards(either: HostDoor) -> None:
    caller = either.caller("talk")
    first = await caller.call("visit")
    [asked] = first["inputRequests"].values()
    assert asked["params"]["url"] == "https://example.com/in"
    assert said(await answered(caller, "visit", first, {"action": "accept"})) is None


@pytest.mark.covers("adapters:capabilities")
@pytest.mark.parametrize(
    ("tool", "capabilities"),
    [
        ("form", {}),
        ("form", {"elicitation": {"url": {}}}),
        ("page", {"elicitation": {}}),
        ("with_tools", {"sampling": {}}),
    ],
)
async def test_a_caller_is_asked_only_what_he_says_he_can_answer(
    either: HostDoor, tool: str, capabilities: dict[str, Any]
) -> None:
    result = await either.caller("talk", capabilities=capabilities).call(tool)
    assert "not supported" in said(result)["refused"]["message"]


@pytest.mark.covers("adapters:whose-question")
async def test_a_question_is_never_shown_to_anyone_but_its_caller(door: HostDoor) -> None:
    first, other = door.caller("talk"), door.caller("talk", who="key:two")
    held = await first.call("form")
    # Over stdio nobody can tell which of the two calls asks.
    refused = said(await other.call("form"))["refused"]
    assert "several are under way" in refused["message"]
    unable = door.caller("talk", who="key:three", capabilities={})
    assert "several are under way" in said(await unable.call("form"))["refused"]["message"]
    assert said(await answered(first, "form", held, ACCEPTED)) == ACCEPTED
    assert said(await answered(other, "form", await other.call("form"), ACCEPTED)) == ACCEPTED


@pytest.mark.covers("adapters:whose-question")
async def test_a_caller_that_never_comes_back_keeps_nothing_from_its_own_next_call(door: HostDoor) -> None:
    caller, unable = door.caller("talk"), door.caller("talk", capabilities={})
    left = await caller.call("form")
    # Its question is its own: the call that waits is not asked in its stead, nor does it wait for that one's caller.
    assert "not supported" in said(await unable.call("form"))["refused"]["message"]
    assert said(await answered(caller, "form", await caller.call("form"), ACCEPTED)) == ACCEPTED
    again = await caller.call("twice")
    declined = {"action": "decline"}
    assert said(await answered(caller, "twice", again, ACCEPTED, declined)) == [ACCEPTED, declined]
    assert said(await answered(caller, "form", left, ACCEPTED)) == ACCEPTED


@pytest.mark.covers("adapters:waiting-yields")
async def test_a_question_that_is_left_open_yields_to_another_callers(either: HostDoor) -> None:
    gone, other = either.caller("talk"), either.caller("talk", who="key:two")
    async with either.other_host(yield_seconds=0.2):
        left = await gone.call("form")
        if either.specs["talk"]["registryType"] != "remote":
            refused = said(await other.call("form"))["refused"]
            assert refused["data"] == {"retry_after": 1}
            assert "try again" in refused["message"]
            await other.until_seen("notifications/cancelled")
            [key] = left["inputRequests"]
            late = {"name": "form", "inputResponses": {key: ACCEPTED}, "requestState": left["requestState"]}
            assert "its call is gone" in (await gone.ask("tools/call", {"arguments": {}, **late}))["error"]["message"]
        assert said(await answered(other, "form", await other.call("form"), ACCEPTED)) == ACCEPTED


@pytest.mark.covers("adapters:waiting-yields")
async def test_a_question_that_nobody_else_waits_for_stays_open(door: HostDoor) -> None:
    caller, unable = door.caller("talk"), door.caller("talk", who="key:two", capabilities={})
    async with door.other_host(yield_seconds=0.05):
        held = await caller.call("form")
        assert "refused" in said(await unable.call("form"))
        again = await caller.call("form")
        assert said(await answered(caller, "form", again, ACCEPTED)) == ACCEPTED
        assert said(await answered(caller, "form", held, ACCEPTED)) == ACCEPTED


@pytest.mark.covers("adapters:roots-own")
async def test_roots_that_one_caller_told_a_server_are_shown_to_no_other(either: HostDoor) -> None:
    caller, other = either.caller("talk"), either.caller("talk", who="key:two")
    blind = either.caller("talk", who="key:three", capabilities={})
    assert said(await answered(caller, "roots", await caller.call("roots"), ROOTS)) == ROOTS["roots"]
    assert said(await caller.call("roots")) == ROOTS["roots"], "it is not asked twice"
    assert said(await blind.call("roots")) == []
    theirs = {"roots": [{"uri": "file:///b"}]}
    asked = await other.call("roots")
    assert [one["method"] for one in asked["inputRequests"].values()] == ["roots/list"]
    assert said(await answered(other, "roots", asked, theirs)) == theirs["roots"]
    assert said(await answered(caller, "roots", await caller.call("roots"), ROOTS)) == ROOTS["roots"]
    # Whoever answers nothing is shown nothing of another's.
    again = await other.call("roots")
    assert said(await other.call("roots", answers={}, state=again["requestState"])) == []


@pytest.mark.covers("adapters:state-sealed")
async def test_a_state_is_good_for_its_caller_its_request_and_one_use_alone(either: HostDoor) -> None:
    caller, other = either.caller("talk"), either.caller("talk", who="key:two")
    held = await caller.call("form")
    state, [key] = held["requestState"], list(held["inputRequests"])
    params = {"name": "form", "arguments": {}, "inputResponses": {key: ACCEPTED}, "requestState": state}
    wrong: list[tuple[Caller, str, dict[str, Any]]] = [
        (other, "tools/call", params),
        (caller, "tools/call", {**params, "arguments": {"a": 1}}),
        (caller, "tools/call", {**params, "name": "twice"}),
        (caller, "tools/call", {**params, "requestState": 7}),
        (caller, "tools/call", {**params, "inputResponses": {key: {"action": "perhaps"}}}),
        (caller, "prompts/get", {**params, "name": "greet"}),
    ]
    for who, method, changed in wrong:
        assert (await who.ask(method, changed))["error"]["code"] == -32602, changed
    assert said(await caller.call("form", answers={key: ACCEPTED}, state=state)) == ACCEPTED
    assert "served already" in (await caller.ask("tools/call", params))["error"]["message"]


@pytest.mark.covers("adapters:state-sealed")
async def test_a_state_with_any_byte_changed_is_refused(door: HostDoor) -> None:
    caller = door.caller("talk")
    held = await caller.call("form")
    state, [key] = held["requestState"], list(held["inputRequests"])
    for at in (0, 20, len(state) - 1):
        tampered = state[:at] + ("A" if state[at] != "A" else "B") + state[at + 1 :]
        params = {"name": "form", "arguments": {}, "inputResponses": {key: ACCEPTED}, "requestState": tampered}
        assert (await caller.ask("tools/call", params))["error"]["code"] == -32602, at
    for tampered in (state + "=", state[:-1], "", state + "\n"):
        params = {"name": "form", "arguments": {}, "inputResponses": {key: ACCEPTED}, "requestState": tampered}
        assert (await caller.ask("tools/call", params))["error"]["code"] == -32602
    assert said(await caller.call("form", answers={key: ACCEPTED}, state=state)) == ACCEPTED


@pytest.mark.covers("adapters:state-sealed")
def test_no_letter_of_a_state_can_be_changed_and_it_expires() -> None:
    sealer, asked = Sealer(), Asked(1, "tools/call", {"name": "form"}, "somebody")
    state = State("talk", "somebody", digest(asked), time.time() + 60, "a call", 1)
    sealed = sealer.seal(state)
    assert sealer.open(sealed, "talk", asked) == state
    for at, letter in enumerate(sealed):
        for other in {"A", "b", "_", "=", " "} - {letter}:
            with pytest.raises(Answered):
                sealer.open(sealed[:at] + other + sealed[at + 1 :], "talk", asked)
    for server, who in (("other", "somebody"), ("talk", "somebody else")):
        with pytest.raises(Answered, match="belongs to another request"):
            sealer.open(sealed, server, replace(asked, principal=who))
    with pytest.raises(Answered, match="expired"):
        sealer.open(sealer.seal(replace(state, expires=time.time() - 1)), "talk", asked)
    with pytest.raises(Answered):
        Sealer().open(sealed, "talk", asked)


@pytest.mark.covers("adapters:waiting-expires")
async def test_a_call_that_nobody_comes_back_to_is_cancelled(either: HostDoor) -> None:
    caller = either.caller("talk")
    async with either.other_host(wait_seconds=0.05):
        held = await caller.call("form")
        await caller.until_seen("notifications/cancelled")
        [key] = held["inputRequests"]
        params = {"name": "form", "inputResponses": {key: ACCEPTED}, "requestState": held["requestState"]}
        assert (await caller.ask("tools/call", {"arguments": {}, **params}))["error"]["code"] == -32602


@pytest.mark.covers("adapters:in-doubt")
async def test_a_waiting_call_whose_server_has_gone_is_in_doubt(either: HostDoor) -> None:
    caller = either.caller("talk")
    held = await caller.call("form")
    [key] = held["inputRequests"]
    await either.stack.tenant("acme", system=True).call("stop", {"name": "talk"})
    params = {"name": "form", "arguments": {}, "inputResponses": {key: ACCEPTED}, "requestState": held["requestState"]}
    assert (await caller.ask("tools/call", params))["error"]["data"]["code"] == "in_doubt"
