"""What a server of an earlier version asks of its client, as `inputRequests`, and the answers to it."""

from __future__ import annotations

from typing import Any

from tausestack.raw import as_array, as_object, object_at

ELICIT, SAMPLE, ROOTS = "elicitation/create", "sampling/createMessage", "roots/list"
KNOWN = frozenset({ELICIT, SAMPLE, ROOTS})

_DROPPED = frozenset({"_meta", "task", "elicitationId"})
"""Parameters that the modern protocol has no word for."""


def needed(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the client capabilities that a question needs."""
    if method == ROOTS:
        return {"roots": {}}
    if method == SAMPLE:
        return {"sampling": {"tools": {}} if "tools" in params or "toolChoice" in params else {}}
    return {"elicitation": {"url" if params.get("mode") == "url" else "form": {}}}


def can_answer(capabilities: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether a caller with these capabilities may be asked what needs those."""
    for name, parts in wanted.items():
        has = as_object(capabilities.get(name))
        if has is None:
            return False
        # An elicitation capability that names no mode means forms.
        implied = {"form"} if name == "elicitation" and not {"form", "url"} & set(has) else set[str]()
        if any(as_object(has.get(part)) is None for part in set(parts) - implied):
            return False
    return True


def as_input_request(method: str, params: dict[str, Any], capabilities: dict[str, Any]) -> dict[str, Any]:
    """Return a question as it stands in `inputRequests`."""
    if method == ROOTS:
        return {"method": ROOTS}
    kept = {name: value for name, value in params.items() if name not in _DROPPED}
    if method == SAMPLE and "context" not in object_at(capabilities, "sampling"):
        kept.pop("includeContext", None)
    return {"method": method, "params": kept}


def fault(method: str, answer: Any) -> str | None:
    """Return what is wrong with a caller's answer to a question, or None."""
    given = as_object(answer)
    if given is None:
        return "is no object"
    if method == ELICIT and given.get("action") not in {"accept", "decline", "cancel"}:
        return "has no action: accept, decline or cancel"
    if method == ROOTS and as_array(given.get("roots")) is None:
        return "lists no roots"
    if method == SAMPLE and (
        given.get("role") not in {"user", "assistant"}
        or not isinstance(given.get("model"), str)
        or not isinstance(given.get("content"), dict | list)
    ):
        return "is no message: it has a role, a content and a model"
    return None
