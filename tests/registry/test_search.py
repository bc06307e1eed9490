"""Finding tools and servers, in Spanish and English."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tausestack.errors import InvalidArguments
from tausestack.testing import Stack
from tausestack_registry.catalogue import bundled
from tausestack_registry.index import ToolIndex
from tausestack_registry.words import clauses, language, stem, words

pytestmark = pytest.mark.anyio


async def found(stack: Stack, query: str, limit: int = 3) -> list[str]:
    await stack.acme.call("install", {"ref": "colombia"})
    await stack.acme.call("install", {"ref": "mcp-server-time", "approve": True})
    return [hit["address"] for hit in (await stack.acme.call("find_tools", {"query": query, "limit": limit}))["tools"]]


@pytest.mark.covers("registry:find-tools")
@pytest.mark.parametrize(
    ("query", "address"),
    [
        ("Valida el NIT 900.123.456-8", "colombia/validate_nit"),
        ("check whether this NIT is valid", "colombia/validate_nit"),
        ("dime qué hora es en Bogotá", "mcp-server-time/get_current_time"),
        ("what time is it in Tokyo", "mcp-server-time/get_current_time"),
        ("crea una factura para Café Andino por 250.000 COP de asesoría", "billing/create_invoice"),
        ("create an invoice for a customer", "billing/create_invoice"),
        ("¿cuáles son los planes?", "billing/list_plans"),
        ("guarda este documento JSON", "storage/put_json"),
        ("en qué departamento queda el municipio de Envigado", "colombia/find_municipality"),
    ],
)
async def test_a_request_in_either_language_finds_its_tool(stack: Stack, query: str, address: str) -> None:
    assert address in await found(stack, query)


@pytest.mark.covers("registry:find-tools-parts")
async def test_each_part_of_a_request_finds_its_tool(stack: Stack) -> None:
    query = "Valida el NIT 900.123.456-8, dime qué hora es en Bogotá y crea una factura para Café Andino"
    hits = await found(stack, query, 6)
    assert {"colombia/validate_nit", "mcp-server-time/get_current_time", "billing/create_invoice"} <= set(hits)


@pytest.mark.covers("registry:find-tools-own")
async def test_a_search_sees_what_the_tenant_has_and_no_more(stack: Stack) -> None:
    await found(stack, "time")
    others = await stack.globex.call("find_tools", {"query": "current time in a timezone", "limit": 100})
    assert not any(hit["address"].startswith(("mcp-server-time/", "colombia/")) for hit in others["tools"])
    await stack.acme.call("uninstall", {"name": "mcp-server-time"})
    own = await stack.acme.call("find_tools", {"query": "current time in a timezone", "limit": 100})
    assert not any(hit["address"].startswith("mcp-server-time/") for hit in own["tools"])
    every = await stack.acme.call("find_tools", {"query": "tenant snapshot changes authenticate", "limit": 100})
    assert not {hit["address"] for hit in every["tools"]} & {
        "auth/authenticate",
        "registry/snapshot",
        "registry/launch",
    }


def tool(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}}


@pytest.mark.covers("registry:search-deterministic")
def test_the_same_tools_in_any_order_give_the_same_answer() -> None:
    tools = [("s", "", tool(f"read_{n}", "Read a file")) for n in range(30)]
    forth, back = ToolIndex(tools), ToolIndex(tools[::-1])
    assert forth.find("lee el archivo", 10) == back.find("lee el archivo", 10)
    assert len(forth.find("lee el archivo", 10)) == 10


@pytest.mark.parametrize("query", ["", "   ", "de la el", '"', "a AND (", "NEAR(x", "* OR ^", "\0", "ñ" * 5000])
def test_no_query_breaks_the_search(query: str) -> None:
    ToolIndex([("s", "", tool("read", "Read a file"))]).find(query, 5)


def test_words_are_folded_split_and_cut() -> None:
    assert words("createInvoice crear_factura Bogotá HTTPServer") == [
        "create", "invoice", "crear", "factura", "bogota", "http", "server",
    ]  # fmt: skip
    assert len({stem(word, "es") for word in ("factura", "facturas", "facturar")}) == 1
    assert language("dime qué hora es en Bogotá") == "es"
    assert language("tell me the hora") == "en"
    assert clauses("haz esto, luego aquello y lo otro") == ["haz esto", "luego aquello", "lo otro"]


@pytest.mark.covers("registry:catalogue")
def test_the_catalogue_is_of_valid_documents() -> None:
    for entry in bundled().entries:
        document = entry.document
        assert 1 <= len(document["description"]) <= 100, entry.name
        assert document["name"].count("/") == 1
        assert json.loads(json.dumps(document)) == document
    assert {"agents", "auth", "billing", "colombia", "mcp-server-time", "platform", "registry", "storage"} <= {
        entry.name for entry in bundled().entries
    }


@pytest.mark.covers("registry:search-catalogue")
async def test_the_catalogue_is_searched_in_either_language(stack: Stack) -> None:
    async def names(query: str | None) -> list[str]:
        return [one["ref"] for one in (await stack.acme.call("search", {"query": query}))["servers"]]

    assert (await names("hora"))[0] == "mcp-server-time"
    assert (await names("invoices"))[0] == "billing"
    assert await names(None) == sorted(await names(None))


@pytest.mark.covers("registry:query-bounded")
@pytest.mark.parametrize("tool", ["find_tools", "search"])
async def test_a_search_that_is_too_long_is_refused(stack: Stack, tool: str) -> None:
    await stack.acme.call(tool, {"query": "factura " * 250})
    with pytest.raises(InvalidArguments):
        await stack.acme.call(tool, {"query": "factura " * 251})
