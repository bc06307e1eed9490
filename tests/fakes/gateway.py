"""A loopback gateway that speaks `/api/v2` as the real one does, for tests of its clients.

It prints its URL on one line and serves until SIGTERM. Two tenants, acme and globex, with keys `tsk_acme` and
`tsk_globex`; the operator's key is `tsk_operator_` and 64 zeros. Tools of server `demo` break connections on demand.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tausestack import errors

OPERATOR_KEY = "tsk_operator_" + "0" * 64
KEYS: dict[str, str] = {"tsk_acme": "acme", "tsk_globex": "globex", "session-acme": "acme"}
LIMITS: dict[str, dict[str, Any]] = {}
TENANTS: dict[str, dict[str, Any]] = {
    name: {"id": name, "name": name.title(), "plan": "basic", "status": "active", "legacy_anonymous": False}
    for name in ("acme", "globex")
}
API_KEYS: dict[str, dict[str, dict[str, Any]]] = {"acme": {}, "globex": {}}
SERVERS: dict[str, dict[str, dict[str, Any]]] = {"acme": {}, "globex": {}}
EFFECTS: dict[str, int] = {}
REPLIES: dict[str, Any] = {}
BROKEN: set[str] = set()
RUNS: dict[str, dict[str, Any]] = {}


def tool(name: str, **policy: Any) -> dict[str, Any]:
    fields = {"side_effect": "write", "idempotent": False, "keyed": False, "approval": "never", "scopes": []}
    return {
        "address": f"demo/{name}",
        "server": "demo",
        "name": name,
        "title": None,
        "description": f"Do {name}.",
        "input_schema": {"type": "object"},
        "output_schema": None,
        **fields,
        **policy,
    }


TOOLS = [
    tool("echo", side_effect="read"),
    tool("fail", side_effect="read"),
    tool("keyed", keyed=True),
    tool("plain"),
    tool("slow", side_effect="read"),
    tool("spend", approval="always"),
    {**tool("run", keyed=True), "address": "agents/run", "server": "agents"},
    {**tool("resume", keyed=True), "address": "agents/resume", "server": "agents"},
]


class Torn(Response):
    """An answer that breaks off in its middle."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise ConnectionAbortedError


def problem(error: errors.TauseError) -> Response:
    return JSONResponse(errors.to_problem(error), error.status, media_type="application/problem+json")


def tenant_of(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    tenant = request.path_params["tenant"]
    if scheme != "Bearer" or (key not in KEYS and key != OPERATOR_KEY):
        raise errors.Unauthenticated("This key is not good")
    if key == OPERATOR_KEY and tenant in TENANTS:
        return tenant
    if KEYS.get(key) != tenant:
        raise errors.NotFound("There is nothing here, or it is not yours")
    return tenant


def check_operator(request: Request) -> None:
    if request.headers.get("authorization") != f"Bearer {OPERATOR_KEY}":
        raise errors.Forbidden("Only the operator's key makes and lists tenants", scope="operator")


def events(*lines: tuple[str, Any]) -> Response:
    text = "".join(f"event: {kind}\ndata: {json.dumps(content)}\n\n" for kind, content in lines)
    return Response(text, media_type="text/event-stream")


async def call_tool(request: Request) -> Response:
    tenant_of(request)
    name = request.path_params["tool"]
    arguments: dict[str, Any] = await request.json()
    key = request.headers["idempotency-key"]
    if name == "fail":
        raise errors.ToolFailed("There is no such invoice", call="call-1", cause="not_found")
    if name == "spend" and request.headers.get("tausestack-approval") is None:
        raise errors.ApprovalRequired("demo/spend waits for a person's approval", approval="apr_1")
    if name == "slow" and "text/event-stream" in request.headers.get("accept", ""):
        halves = [("progress", {"progress": step, "total": 2}) for step in (1, 2)]
        return events(*halves, ("result", {"done": True}))
    if name not in {entry["name"] for entry in TOOLS}:
        raise errors.NotFound("There is nothing here, or it is not yours")
    if name != "keyed" or key not in REPLIES:
        EFFECTS[name] = EFFECTS.get(name, 0) + 1
        REPLIES[key] = {"arguments": arguments, "key": key, "effects": EFFECTS[name]}
    token = arguments.get("break_once")
    if token and token not in BROKEN:
        BROKEN.add(token)
        return Torn()
    return JSONResponse(REPLIES[key], headers={"tausestack-call": "call-1"})


async def list_tools(request: Request) -> Response:
    tenant_of(request)
    wanted = request.query_params.get("search", "")
    start = int(request.query_params.get("cursor", "0"))
    found = [entry for entry in TOOLS if wanted in entry["name"]]
    following = str(start + 5) if start + 5 < len(found) else None
    return JSONResponse({"tools": found[start : start + 5], "next_cursor": following})


async def servers(request: Request) -> Response:
    mine = SERVERS[tenant_of(request)]
    if request.method == "GET":
        return JSONResponse({"servers": list(mine.values())})
    body: dict[str, Any] = await request.json()
    name = body.get("name") or body["ref"].rpartition(":")[2]
    known = mine.setdefault(
        name, {"name": name, "status": "active", "tools": [{"name": "now", "status": "active"}], "given": body}
    )
    return JSONResponse(known, 201)


async def server(request: Request) -> Response:
    mine, name = SERVERS[tenant_of(request)], request.path_params["name"]
    if name not in mine:
        raise errors.NotFound("There is nothing here, or it is not yours")
    if request.method != "DELETE":
        mine[name].update(await request.json())
        return JSONResponse(mine[name])
    found = mine.pop(name)
    return JSONResponse({"name": found["name"], "purged": request.query_params.get("purge") == "true"})


async def plans(request: Request) -> Response:
    tenant_of(request)
    body: dict[str, Any] = await request.json()
    return JSONResponse({"ref": body["ref"], "name": "time", "hash": "abc123", "tools": [{"name": "now"}]})


async def runs(request: Request) -> Response:
    tenant = tenant_of(request)
    if request.method == "GET":
        return JSONResponse({"runs": [public(run) for run in RUNS.values() if run["tenant"] == tenant]})
    body: dict[str, Any] = await request.json()
    run = {"id": f"run-{len(RUNS) + 1}", "agent": body["agent"], "thread": body.get("thread", "t"), "tenant": tenant,
           "status": "pending", "output": None, "steps": [], "cost": {"model": "offline"}, "asked": 0,
           "waits": body["input"] == "pay"}  # fmt: skip
    RUNS[run["id"]] = run
    if body.get("wait"):
        settle(run)
    return JSONResponse(public(run), 200 if run["status"] == "success" else 202)


def settle(run: dict[str, Any]) -> None:
    step = {"server": "demo", "tool": "spend", "arguments": {"amount": 5}, "status": "success"}
    if run["waits"]:
        waiting = {"kind": "approval", "approval": "apr_1", "server": "demo", "tool": "spend", "arguments": {}}
        run |= {"status": "interrupted", "interrupt": waiting, "steps": [{**step, "status": "waiting"}]}
    else:
        run |= {"status": "success", "interrupt": None, "output": "Hecho.", "steps": [step]}


def public(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in {"tenant", "asked", "waits"}}


def run_of(request: Request) -> dict[str, Any]:
    run = RUNS.get(request.path_params["run"])
    if run is None or run["tenant"] != tenant_of(request):
        raise errors.NotFound("There is nothing here, or it is not yours")
    return run


async def get_run(request: Request) -> Response:
    run = run_of(request)
    run["asked"] += 1
    if run["status"] == "pending" and run["asked"] > 1:
        settle(run)
    return JSONResponse(public(run))


async def resume(request: Request) -> Response:
    run = run_of(request)
    decision: dict[str, Any] = (await request.json())["decision"]
    if run["status"] != "interrupted":
        raise errors.Conflict("The run waits for nothing")
    run["waits"] = False
    settle(run)
    if decision.get("approve") is False:
        run["output"] = f"Rejected: {decision.get('reason', '')}"
    return JSONResponse(public(run))


async def cancel(request: Request) -> Response:
    run = run_of(request)
    run["status"] = "cancelled"
    return JSONResponse(public(run))


async def run_events(request: Request) -> Response:
    run = run_of(request)
    after = int(request.headers.get("last-event-id", "0"))

    async def lines() -> Any:
        for number in range(after + 1, 5):
            yield f"id: {number}\nevent: step\ndata: {json.dumps({'number': number})}\n\n"
            if number == 2 and not after:
                raise ConnectionAbortedError
        settle(run)

    return StreamingResponse(lines(), media_type="text/event-stream")


async def tenants(request: Request) -> Response:
    check_operator(request)
    if request.method == "GET":
        return JSONResponse({"tenants": list(TENANTS.values())})
    body: dict[str, Any] = await request.json()
    name = body["id"]
    if name in TENANTS:
        raise errors.Conflict(f"There is a tenant {name} already")
    made = {"id": name, "name": body.get("name", name), "plan": body.get("plan", "basic"), "status": "active"}
    TENANTS[name] = {**made, "legacy_anonymous": False}
    API_KEYS[name], SERVERS[name], KEYS[f"tsk_{name}"] = {}, {}, name
    return JSONResponse({"tenant": TENANTS[name], "api_key": f"tsk_{name}"}, 201)


async def tenant(request: Request) -> Response:
    check_operator(request)
    return JSONResponse(TENANTS[tenant_of(request)])


async def limits(request: Request) -> Response:
    check_operator(request)
    own = LIMITS.setdefault(tenant_of(request), {})
    if request.method == "PATCH":
        given: dict[str, Any] = await request.json()
        for name, value in given.items():
            if name != "calls_per_minute":
                raise errors.InvalidArguments(f"There is no limit '{name}': there are calls_per_minute")
            own[name] = value
    most = own.get("calls_per_minute") or 600
    shown = {"limit": most, "used": 1, "left": most - 1, "resets_at": None, "set_by": "tenant" if own else "plan"}
    return JSONResponse({"limits": {"calls_per_minute": shown}})


async def session(request: Request) -> Response:
    check_operator(request)
    name = tenant_of(request)
    KEYS[f"session-{name}"] = name
    return JSONResponse({"token": f"session-{name}", "expires_at": "2030-01-01T00:00:00Z"}, 201)


async def keys(request: Request) -> Response:
    mine = API_KEYS[tenant_of(request)]
    if request.method == "GET":
        return JSONResponse({"keys": list(mine.values())})
    body: dict[str, Any] = await request.json()
    number = sum(len(found) for found in API_KEYS.values()) + 1
    mine[f"k{number}"] = {"id": f"k{number}", "role": body["role"], "name": body.get("name"), "revoked": False}
    return JSONResponse({**mine[f"k{number}"], "api_key": f"tsk_k{number}_secret"}, 201)


async def key(request: Request) -> Response:
    found = API_KEYS[tenant_of(request)].get(request.path_params["key"])
    if found is None:
        raise errors.NotFound("There is nothing here, or it is not yours")
    found["revoked"] = True
    return JSONResponse(found)


async def verify(request: Request) -> Response:
    ok = tenant_of(request) == "acme"
    told = {"ok": ok, "lines": 3, "calls": 3, "under_way": 0, "head": "0" * 64}
    return JSONResponse({**told, "first_bad": None if ok else 2, "wrong": None if ok else "its hash"})


async def agents(request: Request) -> Response:
    tenant_of(request)
    return JSONResponse({"agents": [{"name": "concierge", "description": "Helps."}]})


async def refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TauseError)
    return problem(error)


T = "/api/v2/tenants"
APP = Starlette(
    routes=[
        Route(T, tenants, methods=["GET", "POST"]),
        Route(T + "/{tenant}", tenant),
        Route(T + "/{tenant}/limits", limits, methods=["GET", "PATCH"]),
        Route(T + "/{tenant}/session", session, methods=["POST"]),
        Route(T + "/{tenant}/keys", keys, methods=["GET", "POST"]),
        Route(T + "/{tenant}/keys/{key}", key, methods=["DELETE"]),
        Route(T + "/{tenant}/tools", list_tools),
        Route(T + "/{tenant}/tools/demo/{tool}", call_tool, methods=["POST"]),
        Route(T + "/{tenant}/servers", servers, methods=["GET", "POST"]),
        Route(T + "/{tenant}/servers/{name}", server, methods=["DELETE", "PATCH"]),
        Route(T + "/{tenant}/servers/{name}/approve", server, methods=["POST"]),
        Route(T + "/{tenant}/plans", plans, methods=["POST"]),
        Route(T + "/{tenant}/agents", agents),
        Route(T + "/{tenant}/runs", runs, methods=["GET", "POST"]),
        Route(T + "/{tenant}/runs/{run}", get_run),
        Route(T + "/{tenant}/runs/{run}/events", run_events),
        Route(T + "/{tenant}/runs/{run}/resume", resume, methods=["POST"]),
        Route(T + "/{tenant}/runs/{run}/cancel", cancel, methods=["POST"]),
        Route(T + "/{tenant}/audit/verify", verify),
    ],
    exception_handlers={errors.TauseError: refuse},
)


def main() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(APP, log_level="critical", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
