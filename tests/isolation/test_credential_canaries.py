"""What people, clients and packages are known by reaches whom it was meant for, and no upstream, log or neighbour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from traceback import format_exc
from typing import Any

import httpx2
import pytest

from canaries import Canaries, answers, exports, files, processes
from oauth_client import OAuthClient, http
from remotes import party
from sessions import Earlier
from stack import Stack, Tenant, free_port, mcp_request, running
from tausestack.client.sync import SyncClient
from tausestack.errors import TauseError
from tausestack_runtime.supervisor.linux import descendants
from wheels import publish

TATTLER = Path(__file__).parents[1] / "fakes" / "adapters" / "tattler.py"
REF = "pypi:tattler==1.0"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
UPSTREAMS = ("storage", "billing", "registry", "agents")
"""Services of ours that have no part in signing people in."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that logs all that it ever would, whose package index has one package, which tells all that it gets."""
    folder = tmp_path_factory.mktemp("watched")
    publish(folder / "index", "tattler", TATTLER)
    port = free_port()
    environment = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "index"),
        "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{port}",
        "TAUSESTACK_LOG_LEVEL": "debug",
    }
    with running(folder / "data", **environment) as started:
        started.remote_ports = (port,)
        yield started


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


def told(tenant: Tenant, name: str = "tattler") -> dict[str, Any]:
    """Return what the package says that it was given: its variables, its input, its arguments."""
    reply = tenant.rpc("tools/call", {"name": f"{name}__tell", "arguments": {}})
    assert reply.status_code == 200, reply.text
    return json.loads(reply.json()["result"]["content"][0]["text"])


def sign_in(canaries: Canaries, tenant: Tenant) -> list[str]:
    """Have a person and a client sign in in every way, rightly and wrongly; return the access tokens that hold."""
    user, first, second = "ana@acme.co", canaries.new("a first password"), canaries.new("a password")
    made = {"id": user, "roles": ["developer"], "password": first}
    canaries.hear("a new person", tenant.call("auth/create_user", made))
    canaries.hear("a password that is set", tenant.call("auth/set_password", {"user": user, "password": second}))
    canaries.hear(
        "a short password",
        tenant.call("auth/set_password", {"user": user, "password": canaries.new("a short password")[:5]}),
    )
    wrong = {"user": user, "password": [canaries.new("a password of the wrong type")]}
    canaries.hear("a password of the wrong type", tenant.call("auth/set_password", wrong))
    client = OAuthClient(tenant)
    page = client.open()
    canaries.hear("a wrong password", client.answer(page, user, canaries.new("a wrong password")))
    canaries.hear("nobody's password", client.answer(page, "nobody@acme.co", canaries.new("nobody's password")))
    code = canaries.known("a code", client.code(user, second))
    answer = client.redeem(code).json()
    refresh = canaries.known("a refresh token", answer["refresh_token"])
    tokens = [answer["access_token"]]
    renewed = client.refresh(refresh).json()
    canaries.known("a second refresh token", renewed["refresh_token"])
    tokens.append(renewed["access_token"])
    canaries.hear("a code once more", client.redeem(canaries.new("a forged code")))
    canaries.hear("a refresh token that is none", client.refresh(canaries.new("a forged refresh token")))
    canaries.hear(
        "a wrong verifier",
        client.token(
            grant_type="authorization_code",
            code=canaries.new("another forged code"),
            code_verifier=canaries.new("a verifier"),
            redirect_uri=client.redirect,
        ),
    )
    me = Tenant(tenant.name, tokens[-1], tenant.url)
    third = canaries.new("a password of one's own choice")
    changed = {"current": second, "new": third}
    canaries.hear("a change of password", me.call("auth/change_password", changed))
    for password in (third, canaries.new("a wrong password at login")):
        reply = tenant.call("auth/login", {"user": user, "password": password})
        if reply.status_code == 200:
            tokens.append(next(value for name, value in reply.json().items() if name.endswith("token")))
        else:
            canaries.hear("a login", reply)
    ended = len(tokens) - 1  # by the change of password
    tokens.append(OAuthClient(tenant).signed_in(user, third)["access_token"])
    tokens += as_client(canaries, tenant, tokens[-1])
    return [canaries.known(f"access token {number}", token) for number, token in enumerate(tokens)][ended:]


def as_client(canaries: Canaries, tenant: Tenant, subject: str) -> list[str]:
    """Have a key act as a confidential client: by itself, and for a person; ask about tokens and revoke one."""
    made = tenant.must("auth/create_api_key", {"role": "agent"})
    secret = canaries.known("a client's secret", made["api_key"])
    resource = f"{tenant.url}/tenants/{tenant.name}/mcp"
    token_url = f"{tenant.url}/oauth/token"
    found = []
    for form in (
        {"grant_type": "client_credentials"},
        {"grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": ACCESS},
    ):
        for auth in ((made["id"], secret), (made["id"], canaries.new("a wrong client secret"))):
            reply = http("POST", token_url, data={**form, "resource": resource}, auth=auth)
            if reply.status_code == 200:
                found.append(reply.json()["access_token"])
            else:
                canaries.hear("a client's request", reply)
        body = {
            **form,
            "resource": resource,
            "client_id": made["id"],
            "client_secret": canaries.new("a secret in a form"),
        }
        canaries.hear("a secret in a form", http("POST", token_url, data=body))
    for path in ("introspect", "revoke"):
        asked = {"token": canaries.new(f"a token to {path}")}
        canaries.hear(path, http("POST", f"{tenant.url}/oauth/{path}", data=asked, auth=(made["id"], secret)))
    assert len(found) == 2
    return found


def act(canaries: Canaries, tenant: Tenant, token: str, *, everywhere: bool) -> None:
    """Call each kind of upstream with an access token, by REST or at each door."""
    me = Tenant(tenant.name, token, tenant.url)
    meta = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    for server, tool, arguments in (
        ("storage", "put_json", {"key": "k", "value": 1}), ("storage", "get_json", {"key": "k"}),
        ("billing", "list_plans", {}), ("registry", "list_servers", {}), ("tattler", "tell", {}),
        ("red", "echo", {"text": "hi"}), ("red", "refuse", {}), ("storage", "get_json", {"key": 7}), ("none", "x", {}),
    ):  # fmt: skip
        canaries.hear(f"REST {server}/{tool}", me.call(f"{server}/{tool}", arguments))
        if not everywhere:
            continue
        merged = {"name": f"{server}__{tool}", "arguments": arguments, "_meta": meta}
        canaries.hear(f"MCP {server}/{tool}", me.rpc("tools/call", merged))
        canaries.hear(f"MCP of {server}/{tool}", me.rpc("tools/call", {**merged, "name": tool}, server=server))
    with httpx2.Client(base_url=tenant.url, timeout=60, trust_env=False) as client:
        earlier = Earlier(f"/tenants/{tenant.name}/mcp", token, client=client)
        for name in ("storage__list_keys", "tattler__tell", "red__echo"):
            canaries.hear(
                "an earlier door", earlier.post(earlier.request("tools/call", {"name": name, "arguments": {}}))
            )
    me.client.post("/tools/storage/get_json", json={"key": "k"}, headers={"Accept": "text/event-stream"})
    for headers in ({"Authorization": f"bearer  {token}"}, {"Authorization": f"Bearer {token}x"}):
        said = mcp_request(
            tenant.url, tenant.name, None, "tools/call", {"name": "red__echo", "arguments": {}}, **headers
        )
        canaries.hear("an odd header", said)


@pytest.mark.timeout(180)
@pytest.mark.covers("isolation:credential-canaries")
def test_no_persons_or_clients_credential_reaches_an_upstream_or_is_seen_again(
    watched: Stack, canaries: Canaries
) -> None:
    tenant, other = watched.tenant(), watched.tenant()
    tenant.install(REF, config={})
    canaries.known("an API key", tenant.key)
    with party(watched.remote_ports[0], "red") as red:
        tenant.install(red.url, name="red")
        tokens = sign_in(canaries, tenant)
        for number, token in enumerate(tokens):
            act(canaries, tenant, token, everywhere=number == 1)
        run = {"agent": "concierge", "input": "Muéstrame los planes", "wait": 20}
        canaries.hear("a run", Tenant(tenant.name, tokens[1], tenant.url).call("agents/run", run))
        given = json.dumps([told(tenant), red.log()])
        assert canaries.found_in(given.encode()) == []
    upstreams = [pid for name in (*UPSTREAMS, "adapter") for pid in pids_of(watched, name)]
    assert len(upstreams) >= len(UPSTREAMS) + 1
    assert [canaries.remembered_by(pid) for pid in upstreams] == [[]] * len(upstreams)
    # And the search finds what there is: the gateway is who takes them.
    (gateway,) = [pid for pid in descendants(watched.process.pid) if _is_gateway(pid)]
    assert any(where.startswith("access token") for where in canaries.remembered_by(gateway))
    for leaks in (
        exports(watched, tenant),
        exports(watched, other),
        answers(canaries),
        processes(watched),
        files(watched),
    ):
        assert canaries.leaks(leaks) == []
    assert len(canaries.put) > 25


def pids_of(stack: Stack, name: str) -> list[int]:
    """Return the processes of a name: an adapter for each tenant."""
    found = stack.operator("GET", "doctor").json()["services"]
    return [one["pid"] for one in found if one["name"] == name and one["pid"]]


def _is_gateway(pid: int) -> bool:
    return b"tausestack_runtime.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.timeout(180)
@pytest.mark.covers("isolation:package-canaries", "adapters:stderr-redacted")
def test_a_packages_variables_reach_its_own_process_and_nothing_else(watched: Stack, canaries: Canaries) -> None:
    tenants = [watched.tenant() for _ in range(2)]
    for number, tenant in enumerate(tenants):
        secrets = {
            "TOKEN": canaries.new(f"the token of {number}"),
            "ODD": canaries.new(f"the odd one of {number}") + " \"\\ñ&=+/'" + canaries.new(f"the odd end of {number}"),
            "PEM": f"-----BEGIN-----\n{canaries.new(f'the key of {number}')}\n{canaries.new(f'more of {number}')}\n",
        }
        installed = tenant.client.post("/servers", json={"ref": REF, "approve": True, "secrets": secrets}, timeout=120)
        assert canaries.hear("an installation", installed).status_code == 201, installed.text
    for number, tenant in enumerate(tenants):
        later = {
            "LATER": canaries.new(f"the later one of {number}"),
            "TOKEN": canaries.new(f"the new token of {number}"),
        }
        changed = tenant.client.patch("/servers/tattler", json={"secrets": later})
        assert canaries.hear("an update", changed).status_code == 200
        canaries.hear("what it offers", tenant.client.get("/servers/tattler"))
    for number, tenant in enumerate(tenants):
        seen = canaries.found_in(json.dumps(told(tenant)["environment"], ensure_ascii=False).encode())
        expected = {where for where in canaries.put.values() if where.endswith(f" of {number}")}
        assert set(seen) == expected - {f"the token of {number}"}  # which was replaced
    (log,) = [content for name, content in files(watched) if name == "the log"]
    assert log.count(b"[secret]") > 40
    assert b'"stderr"' in log
    own = {pid for adapter in pids_of(watched, "adapter") for pid in descendants(adapter)}
    for leak in canaries.leaks(processes(watched)):
        where, _, place = leak.partition(" in /proc/")
        pid, _, about = place.partition("/")
        assert (int(pid) in own, about) == (True, "environ"), (where, place)
    for places in (*(exports(watched, tenant) for tenant in tenants), answers(canaries), files(watched)):
        assert canaries.leaks(places) == []
    for pid in (pid for name in ("storage", "billing", "auth") for pid in pids_of(watched, name)):
        assert canaries.remembered_by(pid) == []


@pytest.mark.covers("isolation:output-canaries")
def test_no_command_and_no_error_of_the_sdk_shows_a_credential(watched: Stack, canaries: Canaries) -> None:
    tenant = watched.tenant()
    key = canaries.known("an API key", tenant.key)
    secret = canaries.new("a secret")
    commands(watched, canaries, tenant, key, COMMANDS[:3], secret)
    wrong = "tsk_abc_" + canaries.new("a wrong key")
    for url, one, name in (
        (watched.url, key, tenant.name),
        (watched.url, wrong, tenant.name),
        (watched.url, key, "nobody"),
        ("http://127.0.0.1:9", key, "x1"),
    ):
        with SyncClient(name, one, url, patience=0.1) as client:
            shown = [repr(client), str(client), repr(vars(client))]
            for address, arguments in (("storage/get_json", {"key": 7}), ("none/x", {}), ("storage/list_keys", {})):
                try:
                    shown.append(repr(client.call(address, arguments)))
                except TauseError as error:
                    shown += [*map(repr, (error, error.data, error.__cause__, error.__context__)), format_exc()]
        assert canaries.found_in("\n".join(shown).encode()) == []


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.covers("isolation:output-canaries")
def test_no_command_at_all_shows_a_credential(watched: Stack, canaries: Canaries) -> None:
    tenant = watched.tenant()
    key = canaries.known("an API key", tenant.key)
    canaries.known("the operator's key", watched.operator_key)
    for given in (key, "tsk_abc_" + canaries.new("a wrong key"), None):
        commands(watched, canaries, tenant, given, COMMANDS, canaries.new("a secret"))


COMMANDS = (
    ("call", "storage/put_json", "--args", "no JSON"), ("update", "nothing", "--secret", "TOKEN={secret}"),
    ("install", "http://127.0.0.1:9/mcp", "--yes", "--secret", "Authorization={secret}"), ("servers",), ("tools",),
    ("call", "storage/list_keys", "--args", "{}"), ("call", "none/x"), ("agent", "list"), ("key", "list"),
    ("audit", "verify"), ("plan", REF), ("install", REF, "--yes", "--secret", "TOKEN={secret}"), ("servers", "--json"),
    ("update", "tattler", "--secret", "TOKEN={secret}"), ("search", "invoices"), ("doctor",), ("keys", "list"),
    ("tenant", "show", "{tenant}"), ("db", "status"),
)  # fmt: skip
"""Commands that read, and that take secrets, well and badly."""
OF_NO_TENANT = {"doctor", "keys", "db", "tenant"}


def commands(
    stack: Stack, canaries: Canaries, tenant: Tenant, key: str | None, asked: tuple[tuple[str, ...], ...], secret: str
) -> None:
    for command in asked:
        words = [word.replace("{secret}", secret).replace("{tenant}", tenant.name) for word in command]
        tenants = () if command[0] in OF_NO_TENANT else ("--tenant", tenant.name)
        done = stack.cli(*words, *tenants, key=key, check=False)
        said = (done.stdout + done.stderr).encode()
        assert canaries.found_in(said) == [], command
        assert b"Traceback" not in said, command
        assert said, command
