"""Tools: what a function's signature becomes, and how calls of it fail."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import tausestack as ts
from tausestack.confidential import SECRET
from tausestack.errors import InvalidArguments, NotFound

pytestmark = pytest.mark.anyio


class Line(BaseModel):
    """A line of an order."""

    sku: str
    quantity: int = Field(ge=1)
    note: str | None = None


@dataclass
class Total:
    """What an order comes to."""

    amount: Decimal
    currency: Literal["COP", "USD"]


def shop() -> ts.mcp.Server:
    """Return a server whose tools take and return all sorts of things."""
    server = ts.mcp.Server("shop", version="1.0.0")

    @server.tool("shop/order", side_effect="external", idempotent=True, scopes=["tools:call:shop/*"], approval="agents")
    async def order(
        lines: list[Line],
        ctx: ts.mcp.Context,
        schema: Annotated[str, Field(description="Which form", pattern="^[a-z]+$", examples=["plain"])] = "plain",
    ) -> dict[str, Any]:
        """Order some things.

        Several at once, where wanted.
        """
        return {"tenant": ctx.tenant, "skus": [line.sku for line in lines], "schema": schema, "note": lines[0].note}

    @server.tool(side_effect="read", title="The total", price="cheap")
    def total(cents: int) -> Total:
        """Add up."""
        return Total(Decimal(cents) / 100, "COP")

    @server.tool(side_effect="read")
    def lines() -> list[Line]:
        """List the lines."""
        return [Line(sku="a", quantity=1)]

    @server.tool(side_effect="read")
    def nothing() -> None:
        """Do nothing."""

    @server.tool(side_effect="read")
    def missing(id: str) -> str:
        """Look for what isn't there."""
        raise NotFound(f"there is no order {id}")

    return server


@pytest.mark.covers("kit:signature-is-schema")
async def test_a_signature_is_the_schema() -> None:
    definitions = {each["name"]: each for each in shop().definitions()}
    assert list(definitions) == sorted(definitions)
    order = definitions["order"]
    assert order["description"] == "Order some things.\n\nSeveral at once, where wanted."
    assert set(order["inputSchema"]["properties"]) == {"lines", "schema"}
    assert order["inputSchema"]["required"] == ["lines"]
    assert order["inputSchema"]["additionalProperties"] is False
    assert order["inputSchema"]["$defs"]["Line"]["properties"]["quantity"]["minimum"] == 1
    assert order["inputSchema"]["properties"]["schema"] == {
        "description": "Which form",
        "pattern": "^[a-z]+$",
        "examples": ["plain"],
        "default": "plain",
        "type": "string",
    }
    assert definitions["total"]["title"] == "The total"
    assert definitions["total"]["outputSchema"]["type"] == "object"
    assert definitions["lines"]["outputSchema"]["required"] == ["result"]
    assert definitions["lines"]["outputSchema"]["$defs"]["Line"]["type"] == "object"


@pytest.mark.covers("kit:policy")
async def test_a_definition_bears_its_policy() -> None:
    definitions = {each["name"]: each for each in shop().definitions()}
    assert definitions["order"]["_meta"]["pro.tause/tool"] == {
        "side_effect": "external",
        "idempotent": True,
        "keyed": False,
        "scopes": ["tools:call:shop/*"],
        "price": "standard",
        "approval": "agents",
    }
    assert definitions["order"]["annotations"] == {
        "readOnlyHint": False,
        "idempotentHint": True,
        "openWorldHint": True,
    }
    assert definitions["total"]["annotations"]["readOnlyHint"] is True
    assert definitions["total"]["_meta"]["pro.tause/tool"]["price"] == "cheap"
    assert set(ts.mcp.tool_policy_schema()["properties"]) == set(definitions["order"]["_meta"]["pro.tause/tool"])


@pytest.mark.covers("kit:raw-definitions")
async def test_what_is_listed_is_what_is_defined() -> None:
    server = shop()
    async with ts.testing.stack(server) as stack:
        listed = await stack.client.list_tools()
        dumped = [each.model_dump(by_alias=True, mode="json", exclude_unset=True) for each in listed.tools]
        assert dumped == server.definitions()


@pytest.mark.covers("kit:structured-results")
async def test_results_are_structured_and_readable() -> None:
    async with ts.testing.stack(shop()) as stack:
        ordered = await stack.acme.call("order", {"lines": [{"sku": "a", "quantity": 2}]})
        assert ordered == {"tenant": "acme", "skus": ["a"], "schema": "plain", "note": None}
        assert await stack.acme.call("total", {"cents": 1250}) == {"amount": "12.5", "currency": "COP"}
        listed = await stack.acme.call("lines")
        assert listed == {"result": [{"sku": "a", "quantity": 1, "note": None}]}
        assert await stack.acme.call("nothing") == {"result": None}
        meta: Any = {"pro.tause/assertion": stack.acme.assertion}
        result = await stack.client.call_tool("lines", {}, meta=meta)
        content: Any = result.content[0]
        assert content.text == '[{"sku": "a", "quantity": 1, "note": null}]'


@pytest.mark.covers("kit:invalid-arguments")
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({}, "lines"),
        ({"lines": [{"sku": "a", "quantity": 0}]}, "lines/0/quantity"),
        ({"lines": [], "schema": "Not This"}, "schema"),
        ({"lines": [], "tenant_id": "globex"}, "tenant_id"),
        ({"lines": [], "ctx": {}}, "ctx"),
    ],
)
async def test_wrong_arguments_are_refused_with_their_place(arguments: dict[str, Any], path: str) -> None:
    async with ts.testing.stack(shop()) as stack:
        with pytest.raises(InvalidArguments) as refused:
            await stack.acme.call("order", arguments)
        assert [each["path"] for each in refused.value.data["errors"]] == [path]


@pytest.mark.covers("kit:tool-errors")
async def test_an_unknown_tool_is_an_error_of_the_protocol_and_a_failure_is_a_result() -> None:
    async with ts.testing.stack(shop()) as stack:
        with pytest.raises(NotFound, match="no tool 'nope'"):
            await stack.acme.call("nope")
        with pytest.raises(NotFound, match="there is no order 7"):
            await stack.acme.call("missing", {"id": "7"})
        meta: Any = {"pro.tause/assertion": stack.acme.assertion}
        result = await stack.client.call_tool("missing", {"id": "7"}, meta=meta)
        assert result.is_error


@pytest.mark.covers("kit:no-tenant-argument")
def test_no_tool_takes_a_tenant() -> None:
    server = ts.mcp.Server("shop", version="1.0.0")

    def peek(tenant_id: str) -> str:
        """Look at anybody's orders."""
        return tenant_id

    with pytest.raises(ValueError, match="tenant_id"):
        server.tool("shop/peek")(peek)


@pytest.mark.covers("approvals:confidential")
def test_a_task_is_given_no_secret_since_its_arguments_are_kept() -> None:
    def enter(password: Annotated[str, Field(json_schema_extra=SECRET)]) -> str:
        """Go in."""
        return password

    server = ts.mcp.Server("shop", version="1.0.0")
    for support in ("optional", "required"):
        with pytest.raises(ValueError, match="may be a secret"):
            server.tool("shop/enter", task_support=support)(enter)
    server.tool("shop/enter")(enter)


def test_a_tool_belongs_to_its_server_and_has_one_name() -> None:
    server = shop()
    with pytest.raises(ValueError, match="no tool of the server"):
        server.tool("other/thing")(lambda: 1)
    with pytest.raises(ValueError, match="already"):
        server.tool("shop/total")(lambda: 1)
    with pytest.raises(ValueError, match="schema"):
        server.tool("shop/keyed", keyed=True)(lambda: 1)


@ts.mcp.tool("legacy/greet", side_effect="read")
def greet(tenant_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """Greet, in the earlier form."""
    return {"text": f"{params.get('greeting', 'hello')} {tenant_id}"}


@ts.mcp.tool("legacy/shout", side_effect="read")
async def shout(tenant_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """Shout, in the earlier form."""
    return {"text": f"{params['greeting']} {tenant_id}".upper()}


@pytest.mark.covers("kit:earlier-form")
async def test_the_earlier_form_is_served_with_its_tenant_bound() -> None:
    assert greet("direct", {}) == {"text": "hello direct"}
    server = ts.mcp.Server.from_tools("legacy")
    assert [each["inputSchema"] for each in server.definitions()] == [{"type": "object"}, {"type": "object"}]
    async with ts.testing.stack(server) as stack:
        assert await stack.acme.call("greet", {"greeting": "hi", "tenant_id": "globex"}) == {"text": "hi acme"}
        assert await stack.globex.call("shout", {"greeting": "hi"}) == {"text": "HI GLOBEX"}
    one = ts.mcp.Server("legacy", version="2.0.0")
    one.include(greet)
    assert [each["name"] for each in one.definitions()] == ["greet"]
