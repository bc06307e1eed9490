"""Tools that need the client's input: they ask, and are called anew with the answers.

A client of an earlier version is asked while its call is under way (`server.py` sees to that), so that each tool is
written once.
"""

from __future__ import annotations

import json
from typing import Any

from conformance_server.calls import Call, ToolBox, ask, filled_in, form, sampling, text

NAME = {"name": {"type": "string"}}
PROMPT = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
MESSAGE = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
ROOTS: dict[str, Any] = {"method": "roots/list", "params": {}}

box = ToolBox()


@box.tool("test_sampling", PROMPT)
async def sample(call: Call) -> dict[str, Any]:
    """Asks the client's model."""
    if "sample" not in call.responses:
        return ask(call, {"sample": sampling(str(call.arguments.get("prompt", "")), 100)})
    return text(f"LLM response: {_sampled(call.responses['sample'])}")


@box.tool(
    "test_elicitation", {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
)
async def elicitation(call: Call) -> dict[str, Any]:
    """Asks the user for a name and an address."""
    if "user" not in call.responses:
        username = {"type": "string", "description": "User's response"}
        email = {"type": "string", "description": "User's email address"}
        return ask(call, {"user": form(str(call.arguments.get("message", "")), username=username, email=email)})
    return text(f"User response: {_decision(call.responses['user'])}")


@box.tool("test_streaming_elicitation")
async def streaming_elicitation(call: Call) -> dict[str, Any]:
    """Reports progress, then asks the user."""
    if "user_name" not in call.responses:
        await call.request.session.report_progress(0, 1, "about to ask")
        return ask(call, {"user_name": form("What is your name?", **NAME)})
    return text(f"Hello, {filled_in(call.responses['user_name']).get('name', 'stranger')}!")


@box.tool("test_elicitation_sep1034_defaults")
async def elicitation_sep1034_defaults(call: Call) -> dict[str, Any]:
    """Asks with a default for every primitive type."""
    if "user" in call.responses:
        return text(f"Elicitation completed: {_decision(call.responses['user'])}")
    request = form(
        "Please check what is known of you",
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    )
    request["params"]["requestedSchema"]["required"] = []
    return ask(call, {"user": request})


@box.tool("test_elicitation_sep1330_enums")
async def elicitation_sep1330_enums(call: Call) -> dict[str, Any]:
    """Asks with every kind of choice."""
    if "choices" in call.responses:
        return text(f"Elicitation completed: {_decision(call.responses['choices'])}")
    options = ["option1", "option2", "option3"]
    titled = [{"const": each, "title": each.capitalize()} for each in options]
    request = form(
        "Please choose",
        untitledSingle={"type": "string", "enum": options},
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={"type": "string", "enum": options, "enumNames": [each.upper() for each in options]},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": options}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )
    return ask(call, {"choices": request})


@box.tool("test_input_required_result_elicitation")
async def input_required_result_elicitation(call: Call) -> dict[str, Any]:
    """Asks the user for a name."""
    if "user_name" not in call.responses:
        return ask(call, {"user_name": form("What is your name?", **NAME)})
    return text(f"Hello, {filled_in(call.responses['user_name']).get('name', 'stranger')}!")


@box.tool("test_input_required_result_sampling")
async def input_required_result_sampling(call: Call) -> dict[str, Any]:
    """Asks the client's model for a capital."""
    if "capital_question" not in call.responses:
        return ask(call, {"capital_question": sampling("What is the capital of France?", 100)})
    return text(f"The model said: {_sampled(call.responses['capital_question'])}")


@box.tool("test_input_required_result_list_roots")
async def input_required_result_list_roots(call: Call) -> dict[str, Any]:
    """Asks for the client's roots."""
    if "client_roots" not in call.responses:
        return ask(call, {"client_roots": ROOTS})
    found = call.responses["client_roots"].get("roots") or []
    return text(f"{len(found)} roots: {', '.join(str(each.get('uri')) for each in found)}")


@box.tool("test_input_required_result_request_state")
async def input_required_result_request_state(call: Call) -> dict[str, Any]:
    """Asks, and wants its state back."""
    if "confirm" in call.responses and call.state == "waiting for a yes":
        return text("state-ok: confirmed")
    return ask(call, {"confirm": form("Please confirm", ok={"type": "boolean"})}, "waiting for a yes")


@box.tool("test_input_required_result_multiple_inputs")
async def input_required_result_multiple_inputs(call: Call) -> dict[str, Any]:
    """Asks the user, the model and for roots, all at once."""
    requests = {
        "user_name": form("What is your name?", **NAME),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": ROOTS,
    }
    if requests.keys() <= call.responses.keys():
        return text(f"{_sampled(call.responses['greeting'])}, {filled_in(call.responses['user_name']).get('name')}")
    return ask(call, requests, "all at once")


@box.tool("test_input_required_result_multi_round")
async def input_required_result_multi_round(call: Call) -> dict[str, Any]:
    """Asks twice, one after the other."""
    known: dict[str, Any] = json.loads(call.state or "{}")
    if "step1" in call.responses:
        known["name"] = filled_in(call.responses["step1"]).get("name")
    if "name" not in known:
        return ask(call, {"step1": form("Step 1: What is your name?", **NAME)}, json.dumps(known))
    if "step2" not in call.responses:
        question = form("Step 2: What is your favorite color?", color={"type": "string"})
        return ask(call, {"step2": question}, json.dumps(known))
    return text(f"{known['name']} likes {filled_in(call.responses['step2']).get('color')}.")


@box.tool("test_input_required_result_tampered_state")
async def input_required_result_tampered_state(call: Call) -> dict[str, Any]:
    """Asks, and refuses a state that is not its own (the seal sees to that)."""
    if call.state is None:
        return ask(call, {"confirm": form("Please confirm", ok={"type": "boolean"})}, "untouched")
    return text(f"state-ok: {call.state}")


@box.tool("test_input_required_result_capabilities")
async def input_required_result_capabilities(call: Call) -> dict[str, Any]:
    """Asks only what the client says that it can answer."""
    possible = {
        "sampling": ("sample", sampling("Say hello", 50)),
        "elicitation": ("user_name", form("What is your name?", **NAME)),
        "roots": ("client_roots", ROOTS),
    }
    requests = dict(each for capability, each in possible.items() if capability in call.capabilities)
    if requests.keys() <= call.responses.keys():
        return text(f"{len(requests)} answers received.")
    return ask(call, requests, "as far as you can")


def _decision(response: dict[str, Any]) -> str:
    return f"action={response.get('action')}, content={json.dumps(filled_in(response))}"


def _sampled(response: dict[str, Any]) -> str:
    found = response.get("content")
    parts = found if isinstance(found, list) else [found]
    return " ".join(str(each.get("text", "")) for each in parts if isinstance(each, dict))
