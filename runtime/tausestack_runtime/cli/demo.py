"""The main job on real input, played step by step on a running stack; whatever is not as promised ends it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2

from tausestack.client import Client, Operator, Run, Step
from tausestack.errors import Conflict, NotFound, TauseError

FIRST_TENANT, SECOND_TENANT = "cafe-andino", "libreria-luna"
EXTERNAL = "mcp-server-time"
REQUEST = (
    "Valida el NIT 900.123.456-8, dime qué hora es en Bogotá y crea una factura para Café Andino "
    "por 250.000 COP de asesoría"
)
VALIDATE, CLOCK, INVOICE = "colombia/validate_nit", f"{EXTERNAL}/get_current_time", "billing/create_invoice"
CUSTOMER, PRICE = "Café Andino", (25_000_000, "COP")
"""What the invoice has to say; the price in minor units."""
SETTLE_SECONDS = 120.0
INSTALL_SECONDS = 300.0
KEY_DAYS = 30
LONGEST_RESULT = 300


class DemoFailed(Exception):
    """What was not as promised."""


class Demo:
    """Plays the demo; `found` then holds what it came to."""

    def __init__(self, url: str, operator_key: str, *, say: Callable[[str], None]) -> None:
        self._url = url
        self._operator_key = operator_key
        self._say = say
        self._number = 0
        self.found: dict[str, Any] = {"url": url}

    async def play(self) -> None:
        """Play every step, or raise `DemoFailed`."""
        try:
            await self._play()
        except TauseError as error:
            raise DemoFailed(f"{error.message} ({error.code})") from error

    async def _play(self) -> None:
        async with Operator(self._operator_key, self._url) as operator:
            self._step("Two tenants")
            first = await self._tenant(operator, FIRST_TENANT)
            second = await self._tenant(operator, SECOND_TENANT)
            self.found |= {"tenant": FIRST_TENANT, "api_key": first}
        async with Client(FIRST_TENANT, first, self._url) as cafe, Client(SECOND_TENANT, second, self._url) as other:
            await self._install(cafe)
            run = await self._ask(cafe)
            run = await self._approve(cafe, run)
            await self._cost(cafe, run)
            await self._over_rest(cafe, first, run)
            await self._isolation(cafe, other, second, run)
        self._say("\nThe demo ended well.")

    def show_doors(self) -> None:
        """Print where to go on by hand."""
        if "api_key" in self.found:
            tenant = self.found["tenant"]
            self._say(f"\nAPI page      {self._url}/api/v2/tenants/{tenant}/docs")
            self._say(f"MCP endpoint  {self._url}/tenants/{tenant}/mcp")
            self._say(f"sign in with  {self.found['api_key']}")
        self._say(f"\nServing on {self._url} until Ctrl-C.")

    async def _tenant(self, operator: Operator, tenant: str) -> str:
        """Return an admin key of a tenant, which is made if it is not there."""
        try:
            made = await operator.create_tenant(tenant, plan="basic")
            self._say(f"   {tenant}: made, with the billing plan basic")
        except Conflict:
            made = await operator.create_key(tenant, role="admin", name="demo", expires_days=KEY_DAYS)
            self._say(f"   {tenant}: there already")
        return str(made["api_key"])

    async def _install(self, cafe: Client) -> None:
        self._step(f"{FIRST_TENANT} installs one of our servers, and one that this project did not write")
        for ref in ("colombia", EXTERNAL):
            began = time.monotonic()
            plan = await cafe.plan(ref)
            made = await cafe.install(ref, approve=plan["hash"], timeout=INSTALL_SECONDS)
            tools = ", ".join(tool["name"] for tool in made["tools"])
            tier = plan.get("sandbox")
            where = f", in the sandbox ({tier})" if tier else ""
            self._say(f"   {made['name']}: {made['status']}{where}, {time.monotonic() - began:.1f} s: {tools}")
            _check(made["status"] == "active", f"{ref} is {made['status']} after its installation")

    async def _ask(self, cafe: Client) -> Run:
        self._step("The agent concierge is asked, in Spanish, for what needs three servers")
        self._say(f"   «{REQUEST}»")
        run = await cafe.agents.run("concierge", REQUEST, wait=SETTLE_SECONDS)
        self._show_steps(run)
        waiting = run.interrupt
        _check(
            run.status == "interrupted" and waiting is not None and waiting.kind == "approval",
            f"the run should wait for an approval, and is {run.status}: {run.error or run.output}",
        )
        assert waiting is not None
        asked = f"{waiting.server}/{waiting.tool}"
        _check(asked == INVOICE, f"the approval should be for {INVOICE}, and is for {asked}")
        self._say(f"   held: {asked} {_json(waiting.arguments)} waits for a person ({waiting.approval})")
        return run

    async def _approve(self, cafe: Client, run: Run) -> Run:
        self._step("A person approves, and the run goes on")
        before = await _invoices(cafe)
        done = await cafe.agents.resume(run.id, {"approve": True}, wait=SETTLE_SECONDS)
        _check(done.status == "success", f"the run should end well, and is {done.status}: {done.error or done.output}")
        self._show_steps(done)
        for address in (VALIDATE, CLOCK, INVOICE):
            _check(any(step.address == address for step in done.steps), f"the run did not call {address}")
        made = [invoice for invoice in await _invoices(cafe) if invoice not in before]
        _check(len(made) == 1, f"one invoice should have been made, and {len(made)} were")
        amount, customer = made[0]["subtotal_minor"], made[0]["customer_id"]
        _check(
            (amount, made[0]["currency"], customer) == (*PRICE, CUSTOMER),
            f"the invoice should be of {PRICE[0]} {PRICE[1]} (minor units) for {CUSTOMER}: {_json(made[0])}",
        )
        self._say("   the answer:")
        for line in str(done.output).splitlines():
            self._say(f"   | {line}")
        self.found |= {"run": done.model_dump(mode="json", exclude_none=True), "invoice": made[0]}
        return done

    async def _cost(self, cafe: Client, run: Run) -> None:
        self._step("What it cost")
        self._say(f"   the run: {_json(run.cost)}")
        usage = await cafe.usage()
        self.found["usage"] = usage
        for line in _usage_lines(usage):
            self._say(f"   {line}")
        chain = await cafe.verify_audit()
        _check(bool(chain["ok"]), f"the audit chain is broken: {_json(chain)}")
        self._say(f"   the audit chain is whole: {chain['lines']} entries")

    async def _over_rest(self, cafe: Client, key: str, run: Run) -> None:
        self._step("The same call over REST")
        step = _step_of(run, VALIDATE)
        path = f"/api/v2/tenants/{FIRST_TENANT}/tools/{VALIDATE}"
        self._say(f"   curl -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\")
        self._say(f"        -d '{_json(step.arguments)}' {self._url}{path}")
        async with httpx2.AsyncClient(base_url=self._url, trust_env=False, timeout=30) as http:
            reply = await http.post(path, json=step.arguments, headers={"authorization": f"Bearer {key}"})
        _check(reply.status_code == 200, f"REST answered {reply.status_code}: {reply.text[:200]}")
        self._say(f"   {_json(reply.json())}")
        through_client = await cafe.call(VALIDATE, step.arguments)
        _check(reply.json() == through_client, "REST and the client differ in their results")
        self.found["rest"] = reply.json()

    async def _isolation(self, cafe: Client, other: Client, key: str, run: Run) -> None:
        self._step(f"{SECOND_TENANT} sees none of it")
        servers = {tool["server"] for tool in await other.tools()}
        _check(not servers & {"colombia", EXTERNAL}, "it lists the first tenant's servers")
        self._say(f"   its tools are of {', '.join(sorted(servers))}; the first tenant's installations are not there")
        for address in (VALIDATE, CLOCK):
            said = await _refusal(other.call(address, {}))
            self._say(f"   calling {address}: {said}")
        theirs, nobodys = await _refusal(other.agents.get(run.id)), await _refusal(other.agents.get("run_0"))
        _check(
            theirs.replace(run.id, "run_0") == nobodys, "the first tenant's run looks unlike one that does not exist"
        )
        self._say(f"   the run {run.id}: {theirs}, as for one that does not exist")
        counts = {
            "invoices": len(await _invoices(other)),
            "runs": len(await other.agents.list()),
            "approvals": len(await other.approvals.list()),
        }
        _check(not any(counts.values()), f"it sees something of the first tenant: {counts}")
        self._say(f"   its {', '.join(counts)}: none")
        refusals: list[str] = []
        for tenant in (cafe.tenant, "does-not-exist"):
            async with Client(tenant, key, self._url) as stranger:
                refusals.append(await _refusal(stranger.tools()))
        _check(refusals[0] == refusals[1], "the first tenant looks unlike one that does not exist")
        self._say(f"   its key on the first tenant's path: {refusals[0]}, as for a tenant that does not exist")
        self.found["isolated"] = True

    def _step(self, title: str) -> None:
        self._number += 1
        self._say(f"\n{self._number}. {title}")

    def _show_steps(self, run: Run) -> None:
        for step in run.steps:
            self._say(f"   {step.address} {_json(step.arguments)}: {step.status}")
            if step.result is not None:
                self._say(f"      {_short(step.result)}")


def _check(good: bool, otherwise: str) -> None:
    if not good:
        raise DemoFailed(otherwise)


async def _refusal(work: Coroutine[Any, Any, Any]) -> str:
    """Return what is said where nothing is to be found."""
    try:
        found = await work
    except NotFound as refusal:
        return f"{refusal.status} {refusal.message}"
    raise DemoFailed(f"the second tenant got {_json(found)}")


async def _invoices(client: Client) -> list[dict[str, Any]]:
    found: dict[str, Any] = await client.call("billing/list_invoices", {})
    return found["invoices"]


def _step_of(run: Run, address: str) -> Step:
    return next(step for step in run.steps if step.address == address)


def _usage_lines(usage: dict[str, Any]) -> list[str]:
    """Return a line for each tool that was called."""
    rows: list[dict[str, Any]] = usage.get("tools", [])
    return [f"{row['server']}/{row['tool']}: {row['calls']} calls" for row in rows]


def _short(value: Any) -> str:
    text = _json(value)
    return text if len(text) <= LONGEST_RESULT else text[: LONGEST_RESULT - 1] + "…"


def _json(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
