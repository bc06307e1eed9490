"""The fixed routes of `/api/v2/tenants/{tenant}/…`: each is one tool under a REST name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tausestack.errors import InvalidRequest

Arguments = Callable[[dict[str, str], dict[str, str], dict[str, Any]], dict[str, Any]]
"""Makes a tool's arguments from path fields, query fields and body."""

ENDED = frozenset({"success", "error", "timeout", "cancelled"})


@dataclass(frozen=True, slots=True)
class Resource:
    """A route: its method, its path below the tenant, and the tool that answers it."""

    method: str
    path: str
    server: str
    tool: str
    arguments: Arguments
    status: Callable[[dict[str, Any]], int] = lambda _: 200

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the fields of a path, or None where this is not its route."""
        return fields_of(self.path, path) if method == self.method else None


def fields_of(template: str, path: str) -> dict[str, str] | None:
    """Return the fields of a path, or None where it does not fit its template, such as `runs/{run}`."""
    found = _pattern(template).fullmatch(path)
    return None if found is None else found.groupdict()


@lru_cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", _field, template))


def _field(found: re.Match[str]) -> str:
    # A thread is named by whoever begins it, perhaps with a slash, and by then the path is decoded.
    return f"(?P<{found[1]}>{'.' if found[1] == 'thread' else '[^/]'}+)"


def _body(path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    return {**body, **path}


def _begun(path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """Where a run is answered as it stands: a program asks again or follows its events, and says so if it waits."""
    return {"wait": 0, **body, **path}


def _query(path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    return {**{name: _number(name, value) for name, value in query.items()}, **path}


def _paged(path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    """Where `before` is a time, not a number."""
    return {**{name: value if name == "before" else _number(name, value) for name, value in query.items()}, **path}


def _number(name: str, value: str) -> Any:
    if name == "wait" and re.fullmatch(r"\d{1,6}(?:\.\d{1,3})?", value):
        return float(value)
    if name not in {"limit", "before", "wait"}:
        return value == "true" if name == "purge" else value
    if not re.fullmatch(r"-?\d{1,15}", value):
        raise InvalidRequest(f"{name} has to be {'a number of seconds' if name == 'wait' else 'an integer'}")
    return int(value)


@dataclass(frozen=True, slots=True)
class Whole:
    """Takes the whole body for one argument."""

    argument: str

    def __call__(self, path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """Return the tool's arguments."""
        return {self.argument: body, **path}


@dataclass(frozen=True, slots=True)
class Known:
    """Takes the body as a change of what the path names, which has to be there: an argument says so."""

    argument: str

    def __call__(self, path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """Return the tool's arguments."""
        return {**body, **path, self.argument: True}


def _saved(found: dict[str, Any]) -> int:
    return 201 if found.get("new") else 200


def _run_status(run: dict[str, Any]) -> int:
    return 200 if run.get("status") in ENDED else 202


RESOURCES = (
    Resource("GET", "servers", "registry", "list_installed", _query),
    Resource("POST", "servers", "registry", "install", _body, lambda _: 201),
    Resource("PATCH", "servers/{name}", "registry", "update", _body),
    Resource("POST", "servers/{name}/approve", "registry", "approve", _body),
    Resource("DELETE", "servers/{name}", "registry", "uninstall", _query),
    Resource("POST", "plans", "registry", "plan", _body),
    Resource("POST", "runs", "agents", "run", _begun, _run_status),
    Resource("GET", "runs", "agents", "list_runs", _query),
    Resource("GET", "runs/{run}", "agents", "get_run", _query),
    Resource("POST", "runs/{run}/resume", "agents", "resume", _begun),
    Resource("POST", "runs/{run}/cancel", "agents", "cancel", _body),
    Resource("POST", "runs/{run}/pause", "agents", "pause", _body),
    Resource("POST", "runs/{run}/fork", "agents", "fork", _body, lambda _: 202),
    Resource("POST", "runs/{run}/replay", "agents", "replay", _body),
    Resource("GET", "threads", "agents", "list_threads", _paged),
    Resource("POST", "threads/prune", "agents", "prune_threads", _body),
    Resource("GET", "threads/{thread}", "agents", "get_thread", _paged),
    Resource("DELETE", "threads/{thread}", "agents", "delete_thread", _query),
    Resource("GET", "schedules", "agents", "list_schedules", _query),
    Resource("POST", "schedules", "agents", "save_schedule", _body, lambda _: 201),
    Resource("GET", "schedules/{name}", "agents", "get_schedule", _query),
    Resource("PATCH", "schedules/{name}", "agents", "save_schedule", Known("existing")),
    Resource("DELETE", "schedules/{name}", "agents", "delete_schedule", _query),
    Resource("GET", "agents", "agents", "list_agents", _query),
    Resource("POST", "agents", "agents", "save_agent", Whole("spec"), _saved),
    Resource("GET", "agents/{agent}", "agents", "get_agent", _query),
    Resource("DELETE", "agents/{agent}", "agents", "delete_agent", _query),
    Resource("GET", "teams", "agents", "list_teams", _query),
    Resource("POST", "teams", "agents", "save_team", Whole("team"), _saved),
    Resource("DELETE", "teams/{team}", "agents", "delete_team", _query),
    Resource("POST", "teams/{team}/runs", "agents", "run_team", _begun, _run_status),
    Resource("GET", "approvals", "platform", "list_approvals", _query),
    Resource("POST", "approvals/{id}", "platform", "decide_approval", _body),
    Resource("GET", "limits", "platform", "get_limits", _query),
    Resource("GET", "usage", "platform", "get_usage", _query),
    Resource("GET", "audit", "platform", "query_audit", _query),
    Resource("GET", "audit/verify", "platform", "verify_audit", _query),
    Resource("GET", "explain", "platform", "explain", _query),
    Resource("GET", "keys", "auth", "list_api_keys", _query),
    Resource("POST", "keys", "auth", "create_api_key", _body, lambda _: 201),
    Resource("DELETE", "keys/{key_id}", "auth", "revoke_api_key", _query),
)
"""Every fixed route that any tenant's credential may ask for."""


def _for_tenant(path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    return {**body, **query, **path}


def _limits(path: dict[str, str], query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
    return {"limits": body, **path}


OPERATOR_RESOURCES = (
    Resource("GET", "tenants", "auth", "list_tenants", _query),
    Resource("POST", "tenants", "auth", "create_tenant", _body, lambda _: 201),
    Resource("GET", "tenants/{id}", "auth", "get_tenant", _query),
    Resource("PATCH", "tenants/{id}", "auth", "change_tenant", _body),
    Resource("GET", "tenants/{tenant}/limits", "platform", "get_limits", _query),
    Resource("PATCH", "tenants/{tenant}/limits", "platform", "set_limits", _limits),
    Resource("GET", "tenants/{tenant}/audit/verify", "platform", "verify_audit", _for_tenant),
    Resource("DELETE", "tenants/{id}", "platform", "delete_tenant", _query),
    Resource("POST", "tenants/{id}/suspend", "platform", "suspend_tenant", _body),
    Resource("POST", "tenants/{id}/resume", "platform", "resume_tenant", _body),
    Resource("GET", "tenants/{tenant}/keys", "auth", "list_tenant_keys", _query),
    Resource("POST", "tenants/{tenant}/keys", "auth", "create_tenant_key", _for_tenant, lambda _: 201),
    Resource("DELETE", "tenants/{tenant}/keys/{key_id}", "auth", "revoke_tenant_key", _for_tenant),
)
"""What the operator's key alone may ask for; the tools run in the tenant `_system`."""
