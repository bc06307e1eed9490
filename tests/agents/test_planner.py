"""The offline planner: requests in two languages, over tools that it knows by their definitions alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tausestack_agents.planner.answer import Called, field_name, say_calls
from tausestack_agents.planner.arguments import Earlier
from tausestack_agents.planner.choice import Candidate, Choice, choose
from tausestack_agents.planner.declining import say_declined
from tausestack_agents.planner.split import split
from tausestack_agents.planner.text import MAX_READ, language
from tausestack_agents.planner.values import Source, number

TOOLS = json.loads((Path(__file__).parent / "tools.json").read_text())
REQUESTS = json.loads((Path(__file__).parent / "requests.json").read_text())
"""Requests, and the calls that they mean."""
TODAY = date(2026, 11, 23)


def _plan(request: str, tools: list[dict[str, Any]], earlier: tuple[Earlier, ...] = ()) -> list[Choice]:
    candidates = [Candidate(tool["address"], tool["address"], tool, rank) for rank, tool in enumerate(tools)]
    spoken = language(request)
    return [choose(part, candidates, Source(part, today=TODAY, spoken=spoken), earlier) for part in split(request)]


def _calls(request: str, tools: list[dict[str, Any]] | None = None) -> list[tuple[str, dict[str, Any]]]:
    found = _plan(request, tools or TOOLS)
    return [(choice.tool.address, call) for choice in found if choice.tool for call in choice.calls]


INVOICE = "billing/create_invoice"
TIME = "mcp-server-time/get_current_time"


@pytest.mark.covers("planner:plans-from-schemas")
@pytest.mark.parametrize(("request_text", "expected"), REQUESTS)
def test_a_request_becomes_the_calls_it_means(request_text: str, expected: list[Any]) -> None:
    assert [[address, arguments] for address, arguments in _calls(request_text)] == expected


@pytest.mark.covers("planner:plans-from-schemas")
def test_a_server_that_it_never_saw_is_used_by_its_schema_alone() -> None:
    reserve = {
        "address": "inventory/reserve_stock",
        "name": "reserve_stock",
        "description": "Reserve units of a product for a customer.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
                "quantity": {"type": "integer", "minimum": 1},
                "until": {"type": "string", "format": "date"},
                "notify": {"type": "string", "format": "email"},
                "priority": {"type": "string", "enum": ["low", "high"], "default": "low"},
            },
            "required": ["sku", "quantity"],
        },
        "_meta": {"pro.tause/tool": {"side_effect": "write"}},
    }
    request = "Reserva 12 unidades del producto ABC-1234 hasta el 15 de diciembre de 2026 y avisa a ana@example.com"
    assert _calls(request, [*TOOLS, reserve]) == [
        (
            "inventory/reserve_stock",
            {"sku": "ABC-1234", "quantity": 12, "until": "2026-12-15", "notify": "ana@example.com"},
        )
    ]


@pytest.mark.covers("planner:says-what-is-missing")
@pytest.mark.parametrize(
    ("request_text", "outcome", "missing"),
    [
        ("¿Qué hora es?", "missing", ["timezone"]),
        ("Elimina todos los documentos", "missing", ["key"]),
        ("Crea una factura para Café Andino", "missing", ["items"]),
        ("Reserva un vuelo a París", "no_tool", []),
        ("Book a flight to Paris", "no_tool", []),
        ("Envía un correo a ana@example.com diciendo hola", "no_tool", []),
        ("Cuéntame un chiste", "no_tool", []),
        ("hola", "no_tool", []),
    ],
)
def test_what_cannot_be_done_is_not_done(request_text: str, outcome: str, missing: list[str]) -> None:
    (choice,) = _plan(request_text, TOOLS)
    assert choice.outcome == outcome
    assert choice.missing == missing
    assert choice.calls == []


@pytest.mark.covers("planner:nothing-by-halves")
@pytest.mark.parametrize(
    ("request_text", "unused"),
    [
        ("Crea una factura para Ana por 50.000 o 60.000 COP de pan", ["50.000 o 60.000"]),
        ("Elimina el documento pedidos/1 o pedidos/2", ["pedidos/1 o pedidos/2"]),
        ("Elimina pedidos/1, pedidos/2 o el documento pedidos/3", ["pedidos/2 o el documento pedidos/3"]),
        ("Paga la factura inv_1 o la inv_2", ["inv_1 o la inv_2"]),
        ("Crea dos facturas para Ana por 50.000 COP de pan", ["dos facturas"]),
        ("Crea una factura para Ana por 50.000 COP de pan, de parte de Luis Gómez", ["Luis Gómez"]),
        ("Suscríbenos al plan premium desde el 1 de enero", ["1 de enero"]),
        ("Registra 250 unidades de api_calls a las 3 pm", ["3 pm"]),
    ],
)
def test_a_change_of_which_it_would_do_a_part_alone_is_asked_about(request_text: str, unused: list[str]) -> None:
    (choice,) = _plan(request_text, TOOLS)
    assert (choice.outcome, choice.calls, choice.unused) == ("left_over", [], unused)


@pytest.mark.covers("planner:plans-from-schemas")
def test_amounts_are_read_as_they_are_written_in_colombia() -> None:
    harina = {"description": "bultos de harina", "unit_price_minor": 12_000_000, "quantity": 3}
    levadura = {"description": "cajas de levadura", "unit_price_minor": 4_500_000, "quantity": 2}
    request = (
        "factura para Panadería Sol: 3 bultos de harina a 120.000 cada uno y 2 cajas de levadura a 45 mil, IVA del 19"
    )
    wanted = {"customer_id": "Panadería Sol", "items": [harina, levadura], "tax_percent": 19}
    assert _calls(request) == [(INVOICE, wanted)]
    [(_, called)] = _calls("Crea una factura para Ana por 1'250.000 pesos de varillas")
    assert called["items"] == [{"description": "varillas", "unit_price_minor": 125_000_000}]
    (negative,) = _plan("Crea una factura para Ana por -5000 COP de pan", TOOLS)
    assert negative.outcome == "missing"


@pytest.mark.covers("planner:says-what-is-missing")
def test_whose_a_thing_is_does_not_say_which_it_is() -> None:
    (choice,) = _plan("Paga la factura de Ana", TOOLS)
    assert (choice.outcome, choice.missing) == ("missing", ["invoice_id"])


@pytest.mark.covers("planner:says-what-is-missing")
@pytest.mark.parametrize(
    ("request_text", "said"),
    [
        ("Buenas tardes", "Hola. Dime qué necesitas y lo hago con las herramientas instaladas."),
        ("Paga la factura de Ana", "falta, o no sirve: factura. No lo hice. ¿Me lo das?"),
        ("Crea dos facturas para Ana por 50.000 COP de pan", "no sé qué hacer con: «dos facturas»."),
        (
            "Ayer creé una factura para Ana por 50.000 COP de pan",
            "entiendo que me lo cuentas, o que es para otro momento",
        ),
        ("Create two invoices for Ana for 50 USD of bread", "I don't know what to do with: “two invoices”."),
    ],
)
def test_what_is_not_done_is_said_in_the_language_of_the_request(request_text: str, said: str) -> None:
    (choice,) = _plan(request_text, TOOLS)
    assert said in say_declined(request_text, choice, language(request_text))


@pytest.mark.covers("planner:reads-never-write")
@pytest.mark.parametrize(
    "request_text",
    [
        "Muestra las facturas",
        "¿Qué facturas hay?",
        "show me the API keys",
        "dime el uso de este mes",
        "invoices please",
    ],
)
def test_a_request_that_asks_for_no_change_gets_no_tool_that_writes(request_text: str) -> None:
    for choice in _plan(request_text, TOOLS):
        assert choice.tool is None or choice.tool.reads


@pytest.mark.covers("planner:uses-earlier-results")
def test_a_later_part_takes_what_an_earlier_one_gave() -> None:
    earlier = (Earlier(INVOICE, {"invoice_id": "inv_77", "number": 3}),)
    (choice,) = _plan("págala", TOOLS, earlier)
    assert choice.tool is not None
    assert (choice.tool.address, choice.calls) == ("billing/pay_invoice", [{"invoice_id": "inv_77"}])


@pytest.mark.covers("planner:splits")
@pytest.mark.parametrize(
    ("request_text", "parts"),
    [
        ("Valida el NIT 900.123.456-8 y crea una factura", ["Valida el NIT 900.123.456-8", "crea una factura"]),
        ("Crea una factura por sal y pimienta", ["Crea una factura por sal y pimienta"]),
        ('Guarda "lee esto, y borra aquello" en notas/uno', ['Guarda "lee esto, y borra aquello" en notas/uno']),
        ("List the plans, then show my usage.", ["List the plans", "show my usage"]),
        ("Hola. ¿Qué hora es en Lima? Dime los planes.", ["¿Qué hora es en Lima?", "Dime los planes"]),
        ("¿Qué hora es en Lima y en Quito?", ["¿Qué hora es en Lima y en Quito?"]),
        ("Buenas tardes, ¿qué hora es en Lima?", ["¿qué hora es en Lima?"]),
        ("Buenas, me regala la hora en Lima?", ["me regala la hora en Lima?"]),
        ("Buenas tardes", ["Buenas tardes"]),
        ("", []),
    ],
)
def test_a_request_is_cut_where_something_new_is_asked_for(request_text: str, parts: list[str]) -> None:
    assert split(request_text) == parts


@pytest.mark.covers("planner:hostile-texts")
@pytest.mark.parametrize("unit", [" ", "\t", ".", " ,", "9", "[", "a@", "_", "¿", "? ", "por favor ", "me la "])
def test_a_text_that_is_made_to_be_slow_is_read_soon(unit: str) -> None:
    """All tenants' runs share the process that reads; what took the cube of the length would never end here."""
    text = ("Crea una factura para " + unit * MAX_READ)[: MAX_READ - 1] + "x"
    assert all(choice.outcome != "too_long" for choice in _plan(text, TOOLS))


@pytest.mark.covers("planner:hostile-texts")
@pytest.mark.parametrize(
    ("unit", "answer"),
    [("lee la clave a y ", "no leo tanto de una vez"), ("read the key a and ", "don't read that much")],
)
def test_a_text_that_is_too_long_is_declined_whole(unit: str, answer: str) -> None:
    text = unit * (20_000 // len(unit))
    (choice,) = _plan(text, TOOLS)
    assert (choice.outcome, choice.calls) == ("too_long", [])
    assert answer in say_declined(text, choice, language(text))


@pytest.mark.covers("planner:hostile-texts")
def test_a_pattern_that_is_made_to_be_slow_is_tried_soon() -> None:
    hostile = {
        "address": "shop/get_thing", "name": "get_thing", "description": "Get a thing.",
        "inputSchema": {
            "type": "object", "required": ["sku"],
            "properties": {"sku": {"type": "string", "pattern": "^([A-Z0-9]+)+$"}},
        },
    }  # fmt: skip
    (choice,) = _plan("Get the thing " + "A0" * 200 + "%", [hostile])
    assert choice.tool is not None


@pytest.mark.covers("planner:numbers")
@pytest.mark.parametrize(
    ("text", "spanish", "value"),
    [
        ("250.000", True, "250000"),
        ("250,000", False, "250000"),
        ("1.234,56", True, "1234.56"),
        ("1,234.56", False, "1234.56"),
        ("1.5", False, "1.5"),
        ("1,5", True, "1.5"),
        ("250 mil", True, "250000"),
        ("2,5 millones", True, "2500000"),
        ("1.200.000", True, "1200000"),
        ("0.125", False, "0.125"),
    ],
)
def test_numbers_are_read_as_they_are_written(text: str, spanish: bool, value: str) -> None:
    assert number(text, spanish=spanish) == Decimal(value)


@pytest.mark.covers("planner:answers-from-results")
def test_the_answer_holds_the_results_and_money_in_major_units() -> None:
    raw = next(tool for tool in TOOLS if tool["address"] == INVOICE)
    schema = {
        "type": "object",
        "properties": {"total_minor": {"type": "integer", "description": "In integer minor units."}},
    }
    tool = Candidate(INVOICE, INVOICE, {**raw, "outputSchema": schema})
    result = {"invoice_id": "inv_1", "currency": "COP", "total_minor": 25_000_000, "paid": False}
    spanish = say_calls("crea una factura", [Called(tool, {}, result)], "es")
    assert "inv_1" in spanish
    assert "250.000 COP" in spanish
    assert "pagado: no" in spanish
    assert "250,000 COP" in say_calls("create an invoice", [Called(tool, {}, result)], "en")
    failed = say_calls("crea una factura", [Called(tool, {}, "no hay cupo", failed=True)], "es")
    assert "falló: no hay cupo" in failed


@pytest.mark.covers("planner:answers-from-results")
def test_of_two_objects_in_a_result_each_is_told_whole() -> None:
    tool = Candidate("time/convert_time", "time/convert_time", {})
    hours = {
        "source": {"timezone": "America/Bogota", "at": "15:00"},
        "target": {"timezone": "Asia/Tokyo", "at": "05:00"},
    }
    said = say_calls("¿qué hora es en Tokio?", [Called(tool, {}, hours)], "es")
    assert "zona horaria (origen): America/Bogota" in said
    assert "zona horaria (destino): Asia/Tokyo" in said
    assert "momento (destino): 05:00" in said


@pytest.mark.covers("planner:answers-from-results")
def test_what_a_list_holds_is_told_in_spanish_with_its_money() -> None:
    price = {"type": "integer", "description": "In integer minor units."}
    invoice = {"type": "object", "properties": {"total_minor": price, "lines": {"type": "array"}}}
    schema = {"type": "object", "properties": {"invoices": {"type": "array", "items": invoice}}}
    tool = Candidate("billing/list_invoices", "billing/list_invoices", {"outputSchema": schema})
    held = {"number": "INV-1", "status": "paid", "currency": "COP", "total_minor": 4_000_000, "total": "40000.00"}
    said = say_calls("lista las facturas", [Called(tool, {}, {"invoices": [held]})], "es")
    assert said.endswith("facturas: 1 elemento [INV-1, pagada, 40.000 COP]")
    full = {"id": "inv_1", **held, "customer_id": "Ana", "tax_percent": 19, "notes": "x", "due_date": "2026-12-01"}
    said = say_calls("lista las facturas", [Called(tool, {}, {"invoices": [full]})], "es")
    assert said.endswith("facturas: 1 elemento [inv_1, INV-1, pagada, Ana, 40.000 COP]")
    refused = "A person rejected this call: Muy caro"
    rejected = say_calls("crea una factura", [Called(tool, {}, refused, failed=True)], "es")
    assert rejected.endswith("falló: una persona rechazó esta llamada: Muy caro")


@pytest.mark.covers("planner:amounts-in-words")
@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("por mil pesos", "1000", "COP"),
        ("por dos mil pesos", "2000", "COP"),
        ("por tres mil quinientos pesos", "3500", "COP"),
        ("por tres mil 500 pesos", "3500", "COP"),
        ("por treinta y cinco mil pesos", "35000", "COP"),
        ("por noventa y nueve mil novecientos pesos", "99900", "COP"),
        ("por ciento veinte mil pesos", "120000", "COP"),
        ("por medio millón de pesos", "500000", "COP"),
        ("por un millón doscientos mil pesos", "1200000", "COP"),
        ("por millón y medio de pesos", "1500000", "COP"),
        ("por 2 millones y medio de pesos", "2500000", "COP"),
        ("por 2 millones 500 mil pesos", "2500000", "COP"),
        ("por 2 millones de pesos", "2000000", "COP"),
        ("por 50 mil pesos", "50000", "COP"),
        ("por cuatro mil millones de pesos", "4000000000", "COP"),
        ("por 20 lucas", "20000", "COP"),
        ("por veinte lucas", "20000", "COP"),
        ("por veinte dólares", "20", "USD"),
        ("for three hundred and fifty dollars", "350", "USD"),
        ("for twenty-five thousand pesos", "25000", "COP"),
        ("por mil veintiún pesos colombianos", "1021", "COP"),
    ],
)
def test_an_amount_in_words_is_read_whole(text: str, amount: str, currency: str) -> None:
    (found,) = Source(text, today=TODAY).of("money")
    assert (found.value.amount, found.value.currency) == (Decimal(amount), currency)
    assert Source(text, today=TODAY).of("number") == []


@pytest.mark.covers("planner:amounts-in-words")
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("mil gracias, lista las facturas", []),
        ("Un millón de gracias", []),
        ("crea una factura", []),
        ("uno de los dos", [2]),
        ("las facturas dos y tres", [2, 3]),
        ("veinte mil y treinta mil", [20_000, 30_000]),
        ("registra mil api_calls", [1000]),
        ("medio día", []),
        ("half of it", []),
        ("mil", [1000]),
        ("medio", []),
        ("el cliente Lucas", []),
    ],
)
def test_words_that_only_look_like_numbers_are_none(text: str, numbers: list[int]) -> None:
    source = Source(text, today=TODAY)
    assert [each.value for each in source.of("number")] == numbers
    assert source.of("money") == []


@pytest.mark.covers("planner:amounts-in-words")
def test_an_invoice_in_words_is_for_what_was_said() -> None:
    for said, minor in (("mil pesos", 100_000), ("treinta y cinco mil pesos", 3_500_000), ("20 lucas", 2_000_000)):
        planned = _calls(f"Crea una factura para Café Andino por {said} de asesoría")
        assert planned[0][1]["items"][0]["unit_price_minor"] == minor, planned


@pytest.mark.covers("planner:spanish-labels")
def test_every_field_of_our_own_services_has_a_name_in_spanish() -> None:
    """Those that are written alike in both languages need none."""
    alike = {
        "epoch",
        "boot",
        "argv",
        "env",
        "id",
        "pins",
        "sandbox",
        "store",
        "leftOut",
        "registryType",
        "serverInfo",
        "resourceTemplates",
    }
    folder = Path(str(files("tausestack_registry"))) / "catalogue"
    tools = [
        tool
        for file in folder.glob("*.json")
        for tool in json.loads(file.read_text("utf-8")).get("_meta", {}).get("pro.tause/tools", [])
    ]
    named = {name for tool in tools for name in _fields(tool.get("outputSchema") or {}, tool.get("outputSchema") or {})}
    assert len(named) > 80
    english = {name for name in named if field_name(name.removesuffix("_minor"), "es") == name.replace("_", " ")}
    assert english - alike <= {"total", "subtotal", "roles", "error", "plan"}


def _fields(schema: Any, root: dict[str, Any], depth: int = 0) -> Iterator[str]:
    if not isinstance(schema, dict) or depth > 8:
        return
    if "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        yield from _fields(found, root, depth + 1)
    for name, each in schema.get("properties", {}).items():
        yield name
        yield from _fields(each, root, depth + 1)
    for key in ("items", "additionalProperties"):
        yield from _fields(schema.get(key), root, depth + 1)
    for key in ("anyOf", "oneOf"):
        for each in schema.get(key, []):
            yield from _fields(each, root, depth + 1)
