"""Secrets that agents' calls bear: whoever decides sees that there is one, the call has it, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from model_server import Answer, Call, FakeModel, says

from canaries import Canaries, answers, exports, files, processes
from remotes import Party, eventually, party
from stack import Stack, Tenant, free_port, running
from tausestack.confidential import SEALED, SHOWN
from tausestack_agents.loopback.answers import Asked

SPEC = {"name": "installer", "instructions": "Install.", "tools": ["registry/install", "registry/update"],
        "scopes": ["tools:read", "tools:call", "servers:manage"]}  # fmt: skip
ASKING = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}


@pytest.fixture
def model() -> Iterator[FakeModel]:
    made = FakeModel()
    yield made
    made.close()


@pytest.fixture
def thinking(tmp_path: Path, model: FakeModel) -> Iterator[Stack]:
    """A stack that thinks with a model which gives secrets along."""
    port = free_port()
    allowed = {"TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port}", "TAUSESTACK_LOG_LEVEL": "debug"}
    with running(tmp_path / "data", **model.environ(), **allowed) as stack:
        stack.remote_ports = (port,)
        yield stack


def planned(text: str) -> Callable[[Asked], Answer]:
    return lambda asked: Answer(calls=[Call(asked.tools[0], json.dumps({"parts": [text]}), "plan")])


def installing(model: FakeModel, red: Party, name: str, secret: str) -> dict[str, Any]:
    """Have the model install a server under a name with a secret, and return what a run is started with."""
    given = {"ref": red.url, "name": name, "approve": True, "secrets": {"X-Key": secret, "X-Fixed": f"{secret}2"}}
    called = Answer(calls=[Call("registry__install", json.dumps(given), f"call-{name}")])
    model.script += [planned(f"Instala {name}"), lambda _: called, says("Hecho.")]
    return {"agent": "installer", "input": f"Instala {name}", "wait": 60}


def came_with(red: Party, secret: str) -> bool:
    return secret in json.dumps(red.log())


@pytest.mark.timeout(180)
@pytest.mark.covers("approvals:confidential", "isolation:secret-canaries")
def test_a_secret_that_an_agent_gives_along_is_seen_by_nobody_and_works_once(thinking: Stack, model: FakeModel) -> None:
    tenant, canaries = thinking.tenant("acme"), Canaries()
    assert tenant.client.post("/agents", json=SPEC).status_code == 201
    with party(thinking.remote_ports[0], "red") as red:
        over_rest(canaries, tenant, model, red)
        in_the_chat_client(canaries, tenant, model, red)
        by_command(canaries, thinking, tenant, model, red)
        rejected(canaries, tenant, model, red)
        installed = {one["name"] for one in tenant.client.get("/servers").json()["servers"]}
        assert installed >= {"red-rest", "red-chat", "red-cli"}
        assert "red-no" not in installed
        for name in ("red-rest", "red-chat", "red-cli"):
            tenant.must(f"{name}/echo", {"text": "hi"})
    for run in tenant.client.get("/runs").json()["runs"]:
        for path in (f"runs/{run['id']}", f"runs/{run['id']}/events"):
            canaries.hear(path, tenant.client.get(f"/{path}"))
    assert canaries.leaks(exports(thinking, tenant)) == []
    assert canaries.leaks(answers(canaries)) == []
    assert canaries.leaks(processes(thinking)) == []
    assert canaries.leaks(files(thinking)) == []
    # What stands for one says nothing to whoever reads it, and is shown to nobody either.
    assert SEALED not in "".join(text for _, text in canaries.said)
    assert SHOWN in "".join(text for _, text in canaries.said)
    assert any(SEALED.encode() in content for _, content in files(thinking))


def over_rest(canaries: Canaries, tenant: Tenant, model: FakeModel, red: Party) -> None:
    """Approve over REST, as it is; the grant is used, and no second effect comes of it."""
    secret = canaries.new("given over REST")
    begun = installing(model, red, "red-rest", secret)
    run = canaries.hear("a run", tenant.client.post("/runs", json=begun)).json()
    assert run["status"] == "interrupted", run
    assert run["interrupt"]["arguments"]["secrets"] == {"X-Key": SHOWN, "X-Fixed": SHOWN}
    (waiting,) = canaries.hear("approvals", tenant.client.get("/approvals?status=pending")).json()["approvals"]
    assert waiting["arguments"]["secrets"] == {"X-Key": SHOWN, "X-Fixed": SHOWN}
    assert not came_with(red, secret)
    decision = {"decision": "approve"}
    for _ in range(2):
        decided = canaries.hear("a decision", tenant.client.post(f"/approvals/{waiting['id']}", json=decision))
        assert decided.status_code == 200, decided.text
    eventually(lambda: tenant.client.get(f"/runs/{run['id']}").json()["status"] not in {"pending", "running"})
    done = canaries.hear("the run", tenant.client.get(f"/runs/{run['id']}")).json()
    assert (done["status"], done["steps"][0]["status"]) == ("success", "done"), done
    assert came_with(red, f"{secret}2")
    # Who shows words in a secret's place outside of a decision gives none.
    copied = {**waiting["arguments"], "name": "red-copy"}
    refused = canaries.hear("a copy", tenant.call("registry/install", copied))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments"), refused.text


def in_the_chat_client(canaries: Canaries, tenant: Tenant, model: FakeModel, red: Party) -> None:
    """Approve in the round trip of a chat client, with another value for one of two secrets."""
    secret, other = canaries.new("given in the chat client"), canaries.new("given by who approves")
    params = {"name": "agents__run", "arguments": installing(model, red, "red-chat", secret), "_meta": ASKING}
    asked = canaries.hear("a question", tenant.rpc("tools/call", params)).json()["result"]
    form = asked["inputRequests"]["approval"]["params"]
    arguments = json.loads(form["requestedSchema"]["properties"]["arguments"]["default"])
    assert arguments["secrets"] == {"X-Key": SHOWN, "X-Fixed": SHOWN}
    arguments["secrets"]["X-Fixed"] = other
    content = {"decision": "approve", "arguments": json.dumps(arguments)}
    answer = {"requestState": asked["requestState"], "inputResponses": {
        "approval": {"action": "accept", "content": content},
    }}  # fmt: skip
    ended = canaries.hear("an answer", tenant.rpc("tools/call", {**params, **answer})).json()["result"]
    assert ended["structuredContent"]["status"] == "success", ended
    assert came_with(red, secret)
    assert came_with(red, other)
    assert not came_with(red, f"{secret}2")


def by_command(canaries: Canaries, stack: Stack, tenant: Tenant, model: FakeModel, red: Party) -> None:
    """Approve by the command line, edited too."""
    secret = canaries.new("given at the command line")
    installing(model, red, "red-cli", secret)
    own = ("--tenant", tenant.name)
    run = stack.cli_json("agent", "run", "installer", "Instala red-cli", *own, key=tenant.key)
    told = [json.dumps(run), stack.cli("approval", "list", *own, "--json", key=tenant.key).stdout]
    edited = {**run["interrupt"]["arguments"], "default": False}
    decision = json.dumps({"arguments": edited})
    ended = stack.cli_json("agent", "resume", run["id"], "--decision", decision, *own, key=tenant.key)
    told += [json.dumps(ended), stack.cli("agent", "show", run["id"], *own, key=tenant.key).stdout]
    assert ended["status"] == "success", ended
    assert came_with(red, f"{secret}2")
    assert not canaries.found_in("".join(told).encode())


def rejected(canaries: Canaries, tenant: Tenant, model: FakeModel, red: Party) -> None:
    """Reject, and nothing of it is left."""
    secret = canaries.new("rejected")
    run = canaries.hear("a run", tenant.client.post("/runs", json=installing(model, red, "red-no", secret))).json()
    assert run["status"] == "interrupted", run
    decision = {"decision": {"approve": False, "reason": "no"}, "wait": 60}
    ended = canaries.hear("the run", tenant.client.post(f"/runs/{run['id']}/resume", json=decision)).json()
    assert ended["status"] == "success", ended
    assert not came_with(red, secret)
